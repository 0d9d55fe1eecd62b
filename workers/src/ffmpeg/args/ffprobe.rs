//! ffprobe's arguments for probing a source.

use std::ffi::OsString;

use super::Args;
use crate::input::Input;

/// The arguments that every ffprobe run on `source` begins with.
fn ffprobe(source: &Input, options: &[&str]) -> Vec<OsString> {
    let mut args = Args(Vec::new());
    args.add(["-hide_banner", "-loglevel", "level+error", "-threads", "1"]);
    args.add(options.iter().copied());
    args.input(source);
    args.0
}

/// Lists the container and its streams, as JSON.
pub fn probe_streams(source: &Input) -> Vec<OsString> {
    let entries = "format=format_name,start_time,duration,bit_rate:\
                   stream=index,id,codec_type,codec_name,width,height,has_b_frames,sample_aspect_ratio,field_order,\
                   pix_fmt,color_transfer,color_space,color_primaries,r_frame_rate,avg_frame_rate,time_base,start_pts,duration_ts,nb_frames,\
                   channels,sample_rate:stream_disposition=default,attached_pic,timed_thumbnails,forced,hearing_impaired,\
                   visual_impaired,descriptions,captions,comment,dub,original:\
                   stream_tags=language,title,rotate,DURATION:stream_side_data=rotation:\
                   program=program_id:program_stream=index";
    ffprobe(source, &["-of", "json", "-show_format", "-show_streams", "-show_entries", entries])
}

/// Lists the decoded frames among the first `packets` packets of stream `index`.
pub fn probe_first_frames(source: &Input, index: u32, packets: u32) -> Vec<OsString> {
    let (stream, interval) = (index.to_string(), format!("%+#{packets}"));
    let entries = "frame=best_effort_timestamp,interlaced_frame";
    ffprobe(
        source,
        &[
            "-of",
            "compact=p=0",
            "-select_streams",
            &stream,
            "-read_intervals",
            &interval,
            "-show_frames",
            "-show_entries",
            entries,
        ],
    )
}

/// Lists the first `packets` packets of stream `index`.
pub fn probe_first_packets(source: &Input, index: u32, packets: u32) -> Vec<OsString> {
    list_packets(source, index, &format!("%+#{packets}"), "packet=pts_time,duration_time,size")
}

/// The fields of a packet that [`probe_packets_from`] and [`probe_windows`] list.
const PACKET: &str = "packet=codec_type,stream_index,pts,dts,duration,flags";

/// Lists the packets of stream `index` from `start` to the end. `start` is in the source's seconds;
/// `None` starts at the first packet.
pub fn probe_packets_from(source: &Input, index: u32, start: Option<f64>) -> Vec<OsString> {
    let interval = start.map_or_else(|| "%".to_owned(), |start| format!("{start:.3}%"));
    list_packets(source, index, &interval, PACKET)
}

/// Lists the packets of stream `index` during `length` seconds from each of `starts`, or from the
/// key frame before it. All are in the source's seconds.
pub fn probe_windows(source: &Input, index: u32, starts: &[f64], length: f64) -> Vec<OsString> {
    let window = |start: &f64| format!("{start:.3}%+{length:.3}");
    let intervals = starts.iter().map(window).collect::<Vec<_>>().join(",");
    list_packets(source, index, &intervals, PACKET)
}

fn list_packets(source: &Input, index: u32, intervals: &str, entries: &str) -> Vec<OsString> {
    let stream = index.to_string();
    ffprobe(
        source,
        &[
            "-of",
            "compact=p=0",
            "-select_streams",
            &stream,
            "-read_intervals",
            intervals,
            "-show_packets",
            "-show_entries",
            entries,
        ],
    )
}

/// Counts the packets of stream `index`.
pub fn probe_packet_count(source: &Input, index: u32) -> Vec<OsString> {
    let (stream, entries) = (index.to_string(), "stream=nb_read_packets");
    let select = ["-of", "compact=p=0", "-select_streams", &stream];
    ffprobe(source, &[&select[..], &["-count_packets", "-show_entries", entries]].concat())
}

/// Lists the packets of stream `index` with their bytes, as JSON.
pub fn packets_with_bytes(source: &Input, index: u32) -> Vec<OsString> {
    let stream = index.to_string();
    let entries = "packet=pts_time,duration_time,data";
    ffprobe(
        source,
        &[
            "-of",
            "json",
            "-select_streams",
            &stream,
            "-show_packets",
            "-show_data",
            "-show_entries",
            entries,
        ],
    )
}
