//! Writes the canonical init segments. The module `init` explains why FFmpeg's are not used.
//!
//! Decode times cannot be negative, so with B-frames presentation is delayed against decoding, and
//! an edit list removes the delay. The alternative, negative composition offsets, does not work:
//! FFmpeg reads them as a late start, so audio would be two frames early in every player that is
//! built on FFmpeg.

use super::{
    TrackKind,
    boxes::Writer,
    init::{Config, Header},
};

/// Rows of the identity matrix (ISO/IEC 14496-12, 6.2.2).
const MATRIX: [u32; 9] = [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000];

impl Header {
    /// The canonical init segment for this track; `frame_ticks` is a video frame's duration.
    pub(crate) fn write(&self, frame_ticks: u32) -> Vec<u8> {
        let delay = self.presentation_delay(frame_ticks);
        let mut w = Writer::default();
        w.boxed(b"ftyp", |w| {
            w.bytes(b"iso6");
            w.u32(0);
            w.bytes(b"iso6cmfcdash");
            match &self.config {
                Config::Video(video) => {
                    if let Some(brand) = video.brand() {
                        w.bytes(&brand);
                    }
                }
                Config::Audio(audio) if audio.channels > 2 => w.bytes(b"camc"),
                Config::Audio(_) => w.bytes(b"caac"),
                Config::Dolby(_) => w.bytes(b"ceac"),
            }
        });
        w.boxed(b"moov", |w| {
            self.mvhd(w);
            w.boxed(b"trak", |w| {
                self.tkhd(w);
                if delay > 0 {
                    edit_list(w, delay);
                }
                w.boxed(b"mdia", |w| self.mdia(w));
            });
            w.boxed(b"mvex", |w| {
                w.full(b"trex", 0, 0, |w| {
                    w.u32(1); // track
                    w.u32(1); // sample entry
                    w.zeros(12); // each fragment has its own defaults
                });
            });
        });
        w.finish()
    }

    fn mvhd(&self, w: &mut Writer) {
        w.full(b"mvhd", 0, 0, |w| {
            w.zeros(8); // dates
            w.u32(self.timescale);
            w.u32(0); // duration: it is in the fragments
            w.u32(0x0001_0000); // rate
            w.u16(0x0100); // volume
            w.zeros(10);
            matrix(w);
            w.zeros(24);
            w.u32(2); // next track
        });
    }

    fn tkhd(&self, w: &mut Writer) {
        let info = self.info();
        // Flags: enabled, in movie, in preview.
        w.full(b"tkhd", 0, 7, |w| {
            w.zeros(8); // dates
            w.u32(1); // track
            w.zeros(4);
            w.u32(0); // duration
            w.zeros(8);
            w.zeros(4); // layer, alternate group
            w.u16(if info.kind == TrackKind::Audio { 0x0100 } else { 0 });
            w.zeros(2);
            matrix(w);
            w.u32(info.width << 16);
            w.u32(info.height << 16);
        });
    }

    fn mdia(&self, w: &mut Writer) {
        let (handler, name): (&[u8; 4], &[u8]) = match self.config {
            Config::Video(_) => (b"vide", b"video\0"),
            Config::Audio(_) | Config::Dolby(_) => (b"soun", b"audio\0"),
        };
        w.full(b"mdhd", 0, 0, |w| {
            w.zeros(8); // dates
            w.u32(self.timescale);
            w.u32(0); // duration
            w.u16(0x55c4); // "und": the language is in the manifest
            w.zeros(2);
        });
        w.full(b"hdlr", 0, 0, |w| {
            w.zeros(4);
            w.bytes(handler);
            w.zeros(12);
            w.bytes(name);
        });
        w.boxed(b"minf", |w| {
            match self.config {
                Config::Video(_) => w.full(b"vmhd", 0, 1, |w| w.zeros(8)),
                Config::Audio(_) | Config::Dolby(_) => w.full(b"smhd", 0, 0, |w| w.zeros(4)),
            }
            w.boxed(b"dinf", |w| {
                w.full(b"dref", 0, 0, |w| {
                    w.u32(1);
                    w.full(b"url ", 0, 1, |_| {}); // in this file
                });
            });
            w.boxed(b"stbl", |w| self.stbl(w));
        });
    }

    fn stbl(&self, w: &mut Writer) {
        w.full(b"stsd", 0, 0, |w| {
            w.u32(1);
            match &self.config {
                Config::Video(video) => video.write(w),
                Config::Audio(audio) => audio.write(w),
                Config::Dolby(dolby) => dolby.write(w),
            }
        });
        // The samples are in the fragments.
        w.full(b"stts", 0, 0, |w| w.u32(0));
        w.full(b"stsc", 0, 0, |w| w.u32(0));
        w.full(b"stsz", 0, 0, |w| w.zeros(8));
        w.full(b"stco", 0, 0, |w| w.u32(0));
    }
}

/// Maps presentation to the media from the first presented sample to the end.
fn edit_list(w: &mut Writer, media_time: u32) {
    w.boxed(b"edts", |w| {
        w.full(b"elst", 0, 0, |w| {
            w.u32(1);
            w.u32(0); // duration: all fragments
            w.u32(media_time);
            w.u32(0x0001_0000); // rate
        });
    });
}

fn matrix(w: &mut Writer) {
    for value in MATRIX {
        w.u32(value);
    }
}
