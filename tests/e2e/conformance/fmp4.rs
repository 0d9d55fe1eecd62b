//! CMAF headers and fragments: rules C1 to C4, and H20 and H22 for video.

use anyhow::{Context, bail, ensure};

use super::{
    Parsed, ParsedSegment, Violations,
    boxes::{self, Atom, Reader},
    codec::{audio_codec, dolby_channels, hevc_codec, holds_captions, is_clean_start},
};

/// The contents of an init segment.
#[derive(Clone, Debug)]
pub(crate) struct Init {
    pub(crate) brands: Vec<String>,
    pub(crate) timescale: u32,
    /// The codec string of RFC 6381.
    pub(crate) codec: String,
    pub(crate) video: bool,
    /// 0 for audio.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// 0 for video.
    pub(crate) rate: u32,
    pub(crate) channels: u32,
    /// Boxes that rule C4 forbids: meta, udta.
    pub(crate) unwanted: Vec<String>,
    /// Ticks that the edit list subtracts from every composition time.
    pub(crate) delay: i64,
    /// Size of a NAL unit's length field in bytes.
    pub(crate) length_bytes: usize,
}

/// A moof box with its mdat box.
#[derive(Clone, Debug)]
pub(crate) struct Fragment {
    /// Size of both boxes.
    pub(crate) bytes: usize,
    pub(crate) sequence: u32,
    /// Base media decode time, from tfdt.
    pub(crate) time: u64,
    pub(crate) samples: Vec<Sample>,
    /// The first sample's bytes.
    pub(crate) first: Vec<u8>,
    /// The bytes of all samples.
    pub(crate) content: Vec<u8>,
    /// Number of mdat bytes that belong to no sample.
    pub(crate) slack: usize,
}

/// One sample's entry in the trun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) duration: u32,
    pub(crate) size: u32,
    pub(crate) sync: bool,
    /// Composition time minus decode time.
    pub(crate) offset: i64,
}

impl Fragment {
    /// Sum of the sample durations.
    pub(crate) fn ticks(&self) -> u64 {
        self.samples.iter().map(|sample| u64::from(sample.duration)).sum()
    }

    /// Presentation times in decode order; the edit list subtracts `delay`.
    pub(crate) fn times(&self, delay: i64) -> Vec<i64> {
        let mut decode = self.time as i64 - delay;
        let mut times = Vec::with_capacity(self.samples.len());
        for sample in &self.samples {
            times.push(decode + sample.offset);
            decode += i64::from(sample.duration);
        }
        times
    }
}

/// Reads an init segment.
pub(crate) fn init(data: &[u8]) -> anyhow::Result<Init> {
    let top = boxes::list(data)?;
    let ftyp = boxes::one(&top, b"ftyp")?;
    let brand = |raw: &[u8]| String::from_utf8_lossy(raw).into_owned();
    let mut brands = vec![brand(ftyp.body.get(..4).context("short ftyp")?)];
    brands.extend(ftyp.body[8..].chunks(4).map(brand));
    let moov = boxes::one(&top, b"moov")?.children(0)?;
    boxes::one(&moov, b"mvex")?;
    let trak = boxes::one(&moov, b"trak")?.children(0)?;
    let every = top.iter().chain(&moov).chain(&trak);
    let unwanted = every.filter(|a| matches!(&a.kind, b"meta" | b"udta")).map(Atom::name).collect();
    let mdia = boxes::one(&trak, b"mdia")?.children(0)?;
    let mut mdhd = Reader::new(boxes::one(&mdia, b"mdhd")?.body);
    let (version, _) = mdhd.version_flags()?;
    mdhd.take(if version == 1 { 16 } else { 8 })?;
    let timescale = mdhd.u32()?;
    let stsd = boxes::descend(&mdia, &[b"minf", b"stbl", b"stsd"])?.children(8)?;
    ensure!(stsd.len() == 1, "{} sample entries", stsd.len());
    let delay = delay(&trak)?;
    let mut init = Init {
        brands,
        timescale,
        codec: String::new(),
        video: false,
        width: 0,
        height: 0,
        rate: 0,
        channels: 0,
        unwanted,
        delay,
        length_bytes: 0,
    };
    entry(&stsd[0], &mut init)?;
    Ok(init)
}

/// Reads the only edit list that CMAF allows: a shift of the whole track, without an end.
fn delay(trak: &[Atom]) -> anyhow::Result<i64> {
    let Ok(edts) = boxes::one(trak, b"edts") else { return Ok(0) };
    let mut elst = Reader::new(boxes::one(&edts.children(0)?, b"elst")?.body);
    let (version, _) = elst.version_flags()?;
    ensure!(elst.u32()? == 1, "more than one edit");
    let (duration, start) = match version {
        0 => (u64::from(elst.u32()?), i64::from(elst.u32()? as i32)),
        _ => (elst.u64()?, elst.u64()? as i64),
    };
    ensure!(duration == 0 && start >= 0, "an edit of {duration} from {start}");
    ensure!(elst.u32()? == 0x0001_0000, "an edit that changes the rate");
    Ok(start)
}

fn entry(entry: &Atom, init: &mut Init) -> anyhow::Result<()> {
    let mut fields = Reader::new(entry.body);
    match &entry.kind {
        b"avc1" => {
            fields.take(24)?;
            (init.width, init.height) = (fields.u16()?.into(), fields.u16()?.into());
            init.video = true;
            let avcc = boxes::one(&entry.children(78)?, b"avcC")?.body;
            ensure!(avcc.len() > 6, "short avcC");
            init.length_bytes = usize::from(avcc[4] & 3) + 1;
            init.codec = format!("avc1.{:02x}{:02x}{:02x}", avcc[1], avcc[2], avcc[3]);
        }
        b"hvc1" => {
            fields.take(24)?;
            (init.width, init.height) = (fields.u16()?.into(), fields.u16()?.into());
            init.video = true;
            let hvcc = boxes::one(&entry.children(78)?, b"hvcC")?.body;
            ensure!(hvcc.len() > 22, "short hvcC");
            init.length_bytes = usize::from(hvcc[21] & 3) + 1;
            init.codec = hevc_codec(hvcc);
        }
        b"av01" => {
            fields.take(24)?;
            (init.width, init.height) = (fields.u16()?.into(), fields.u16()?.into());
            init.video = true;
            let av1c = boxes::one(&entry.children(78)?, b"av1C")?.body;
            ensure!(av1c.len() > 4 && av1c[0] == 0x81, "no av1C of version 1");
            let (profile, level) = (av1c[1] >> 5, av1c[1] & 0x1f);
            let tier = if av1c[2] & 0x80 == 0 { 'm' } else { 'h' };
            let depth = if av1c[2] & 0x40 == 0 { 8 } else { 10 };
            init.length_bytes = 4;
            init.codec = format!("av01.{profile}.{level:02}{tier}.{depth:02}");
        }
        b"mp4a" => {
            fields.take(16)?;
            init.channels = fields.u16()?.into();
            fields.take(6)?;
            init.rate = fields.u32()? >> 16;
            let esds = boxes::one(&entry.children(28)?, b"esds")?.body;
            init.codec = audio_codec(esds)?;
        }
        b"ac-3" | b"ec-3" => {
            fields.take(24)?;
            init.rate = fields.u32()? >> 16;
            let children = entry.children(28)?;
            init.codec = entry.name();
            init.channels = match &entry.kind {
                b"ac-3" => dolby_channels(boxes::one(&children, b"dac3")?.body, 10)?,
                _ => dolby_channels(boxes::one(&children, b"dec3")?.body, 28)?,
            };
        }
        other => bail!("sample entry {}", String::from_utf8_lossy(other)),
    }
    Ok(())
}

/// Reads a media segment: pairs of moof and mdat, with only styp, sidx, emsg and prft allowed
/// before a pair.
pub(crate) fn fragments(data: &[u8]) -> anyhow::Result<Vec<Fragment>> {
    let mut found = Vec::new();
    let mut moof: Option<Atom> = None;
    for atom in boxes::list(data)? {
        match (&atom.kind, moof.take()) {
            (b"moof", None) => moof = Some(atom),
            (b"mdat", Some(moof)) => found.push(fragment(data, &moof, &atom)?),
            (b"styp" | b"sidx" | b"emsg" | b"prft", None) => (),
            _ => bail!("unexpected box {}", atom.name()),
        }
    }
    ensure!(moof.is_none() && !found.is_empty(), "a moof without mdat, or no fragment");
    Ok(found)
}

fn fragment(data: &[u8], moof: &Atom, mdat: &Atom) -> anyhow::Result<Fragment> {
    let parts = moof.children(0)?;
    let mut mfhd = Reader::new(boxes::one(&parts, b"mfhd")?.body);
    mfhd.take(4)?;
    let sequence = mfhd.u32()?;
    let traf = boxes::one(&parts, b"traf")?.children(0)?;
    let mut tfdt = Reader::new(boxes::one(&traf, b"tfdt")?.body);
    let time = if tfdt.version_flags()?.0 == 1 { tfdt.u64()? } else { tfdt.u32()?.into() };
    let defaults = defaults(boxes::one(&traf, b"tfhd")?.body)?;
    let (samples, offset) = run(boxes::one(&traf, b"trun")?.body, &defaults)?;
    let first = moof.start + usize::try_from(offset).context("negative data offset")?;
    let used: usize = samples.iter().map(|sample| sample.size as usize).sum();
    let content = mdat.start + 8;
    ensure!(
        first >= content && first + used <= mdat.start + mdat.size,
        "samples lie outside the mdat"
    );
    let first_size = samples.first().context("fragment without samples")?.size as usize;
    Ok(Fragment {
        bytes: moof.size + mdat.size,
        sequence,
        time,
        first: data[first..first + first_size].to_vec(),
        content: data[first..first + used].to_vec(),
        slack: mdat.size - 8 - used,
        samples,
    })
}

/// Default duration, size and flags of samples for which the trun gives no values.
fn defaults(tfhd: &[u8]) -> anyhow::Result<[Option<u32>; 3]> {
    let mut reader = Reader::new(tfhd);
    let (_, flags) = reader.version_flags()?;
    ensure!(flags & 0x02_0000 != 0, "tfhd without default-base-is-moof");
    ensure!(flags & 0x01 == 0, "tfhd with a base data offset");
    reader.take(4)?;
    if flags & 0x02 != 0 {
        reader.take(4)?;
    }
    let mut optional = |bit: u32| if flags & bit != 0 { reader.u32().map(Some) } else { Ok(None) };
    Ok([optional(0x08)?, optional(0x10)?, optional(0x20)?])
}

fn run(trun: &[u8], defaults: &[Option<u32>; 3]) -> anyhow::Result<(Vec<Sample>, i32)> {
    let mut reader = Reader::new(trun);
    let (version, flags) = reader.version_flags()?;
    let count = reader.u32()?;
    ensure!(flags & 0x01 != 0, "trun without data offset");
    let offset = reader.u32()? as i32;
    let first_flags = if flags & 0x04 != 0 { Some(reader.u32()?) } else { None };
    let mut samples = Vec::new();
    for index in 0..count {
        let mut field = |bit: u32, default: Option<u32>, name: &str| match flags & bit {
            0 => default.with_context(|| format!("sample without {name}")),
            _ => reader.u32(),
        };
        let duration = field(0x100, defaults[0], "duration")?;
        let size = field(0x200, defaults[1], "size")?;
        let own =
            field(0x400, first_flags.filter(|_| index == 0).or(defaults[2]).or(Some(0)), "flags")?;
        let raw = field(0x800, Some(0), "composition offset")?;
        let offset = if version == 0 { i64::from(raw) } else { i64::from(raw as i32) };
        samples.push(Sample { duration, size, sync: own & 0x1_0000 == 0, offset });
    }
    ensure!(reader.left() == 0, "{} bytes too many in trun", reader.left());
    Ok((samples, offset))
}

/// Checks every rendition on its own, and the video renditions against each other.
pub(crate) fn check(tracks: &[Parsed], violations: &mut Violations) {
    for track in tracks {
        header(track, violations);
        let mut expected = 0;
        for segment in &track.segments {
            content(track, segment, &mut expected, violations);
        }
    }
    let videos: Vec<&Parsed> = tracks.iter().filter(|track| track.init.video).collect();
    for pair in videos.windows(2) {
        let starts = |track: &Parsed| -> Vec<(u64, u32)> {
            let fragments = track.segments.iter().flat_map(|segment| &segment.fragments);
            fragments.map(|fragment| (fragment.time, fragment.sequence)).collect()
        };
        let (a, b) = (starts(pair[0]), starts(pair[1]));
        let common = a.len().min(b.len());
        let names = format!("{} and {}", pair[0].name, pair[1].name);
        violations.require("C2", a[..common] == b[..common], format!("{names}: boundaries differ"));
        let same = pair[0].init.timescale == pair[1].init.timescale;
        violations.require("C3", same, format!("{names}: timescales differ"));
    }
}

fn header(track: &Parsed, violations: &mut Violations) {
    let (name, init) = (&track.name, &track.init);
    let cmaf = init.brands.iter().any(|brand| brand == "cmfc" || brand == "cmf2");
    violations.require("C3", cmaf, format!("{name}: brands {:?}", init.brands));
    let negative = track
        .segments
        .iter()
        .flat_map(|s| &s.fragments)
        .flat_map(|f| &f.samples)
        .any(|s| s.offset < 0);
    let allowed = !negative || init.brands.iter().any(|brand| brand == "cmf2");
    violations.require(
        "C3",
        allowed,
        format!("{name}: negative composition offsets need brand cmf2"),
    );
    let once = !negative || init.delay == 0;
    violations.require(
        "C1",
        once,
        format!("{name}: negative composition offsets and an edit list"),
    );
    violations.require(
        "C4",
        init.unwanted.is_empty(),
        format!("{name}: {:?} in the header", init.unwanted),
    );
    if init.video {
        let known = ["avc1.64", "hvc1.1.", "av01.0."];
        let codec = known.iter().any(|known| init.codec.starts_with(known));
        violations.require("H20", codec, format!("{name}: codec {} is not served", init.codec));
        let even = init.width.is_multiple_of(2) && init.height.is_multiple_of(2);
        violations.require(
            "C3",
            even && init.length_bytes == 4,
            format!("{name}: odd size or NAL lengths"),
        );
    } else {
        let right = match init.codec.as_str() {
            "mp4a.40.2" => [1, 2, 6].contains(&init.channels),
            "ac-3" | "ec-3" => [5, 6].contains(&init.channels),
            _ => false,
        };
        violations.require(
            "C3",
            right,
            format!("{name}: {} with {} channels", init.codec, init.channels),
        );
    }
}

fn content(
    track: &Parsed,
    segment: &ParsedSegment,
    expected: &mut u64,
    violations: &mut Violations,
) {
    for fragment in &segment.fragments {
        let at = format!("{} fragment {} of {}", track.name, fragment.sequence, segment.path);
        violations.require(
            "C1",
            fragment.time == *expected,
            format!("{at}: tfdt {} instead of {expected}", fragment.time),
        );
        *expected += fragment.ticks();
        let first = &fragment.samples[0];
        violations.require(
            "C2",
            first.sync,
            format!("{at}: the first sample is not a sync sample"),
        );
        violations.require(
            "C1",
            fragment.slack == 0,
            format!("{at}: {} bytes of no sample", fragment.slack),
        );
        let late = first.offset - track.init.delay;
        violations.require("C1", late == 0, format!("{at}: presentation starts {late} late"));
        let end = (fragment.time + fragment.ticks()) as i64;
        let mut times = fragment.times(track.init.delay);
        times.sort_unstable();
        let inside = times[0] == fragment.time as i64 && times.iter().all(|time| *time < end);
        violations.require("C2", inside, format!("{at}: presentation leaves the fragment"));
        if track.init.video {
            violations.require(
                "H20",
                is_clean_start(&track.init.codec, &fragment.first),
                format!("{at}: does not start with a key frame"),
            );
            let captions = holds_captions(&track.init.codec, &fragment.content);
            violations.require("H22", !captions, format!("{at}: closed captions in the samples"));
            let step = i64::from(first.duration);
            let even = times.windows(2).all(|pair| pair[1] - pair[0] == step);
            violations.require("C1", even, format!("{at}: frames are not {step} ticks apart"));
            let single = fragment.samples.iter().filter(|sample| sample.sync).count() == 1;
            violations.require("C2", single, format!("{at}: more than one sync sample"));
        }
    }
}
