//! Text tracks: accepted input, rejected input, dropped styles, and how cues are cut into segments.

use media::{
    CaptionId, JobId,
    captions::{
        CAPTIONS_BYTES_MAX, CUE_SOURCE_BYTES_MAX, CUES_MAX, CaptionError, CaptionKind, Captions,
        Described, Format, ParseBudget, Window, id_of_file, listed, of_rendition, rendition,
    },
};
use proptest::prelude::*;
use uuid::Uuid;

const OPEN: Window = Window { origin: 0, length: None };

fn vtt(text: &str) -> Result<String, CaptionError> {
    Captions::read(text.as_bytes(), Format::Vtt, OPEN)?.write()
}

fn srt(text: &str) -> Result<String, CaptionError> {
    Captions::read(text.as_bytes(), Format::Srt, OPEN)?.write()
}

fn line(result: Result<String, CaptionError>) -> usize {
    match result {
        Err(CaptionError::Line { line, .. }) => line,
        other => panic!("{other:?}"),
    }
}

#[test]
fn cues_of_webvtt_are_kept_and_styles_are_dropped() {
    let text = "\u{feff}WEBVTT - a video\r\nKind: captions\r\n\r\nNOTE\r\nnot --shown\r\n\r\n\
                STYLE\r\n::cue { background: url(//evil) }\r\n\r\nREGION\r\nid:r\r\n\r\n\
                intro\r\n00:02.000 --> 00:04.500 align:start region:r line:0 position:10%,line-left x\r\n\
                <v Ann>Hi</v>\r\n\r\n01:00:00.000\t-->\t01:00:01.000\r\none\r\ntwo\r\n";
    let expected = "WEBVTT\n\n\
                    00:00:02.000 --> 00:00:04.500 align:start line:0 position:10%,line-left\n\
                    <v Ann>Hi</v>\n\n01:00:00.000 --> 01:00:01.000\none\ntwo\n";
    assert_eq!(vtt(text).unwrap(), expected);
}

#[test]
fn subrip_becomes_webvtt() {
    let text = "1\r\n00:00:02,5 --> 00:00:04,500  X1:1 X2:2\r\n{\\an8}<font color=red>Hi</font> & <i>bye</i>\r\n\
                \r\n \r\n2\r\n0:00:01.000 --> 0:00:02.000\r\nfirst\r\n\r\n\
                00:00:05,000 --> 00:00:06,000\r\nno number\r\n";
    let expected = "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nfirst\n\n\
                    00:00:02.500 --> 00:00:04.500\nHi &amp; <i>bye</i>\n\n\
                    00:00:05.000 --> 00:00:06.000\nno number\n";
    assert_eq!(srt(text).unwrap(), expected);
}

/// Empty lines and numbers within the text of a cue are text, as in FFmpeg and VLC.
#[test]
fn subrip_may_have_empty_lines_and_numbers_within_its_cues() {
    let text = "1\n00:00:01,000 --> 00:00:02,000\none\n\n\ntwo\n \n7\n\n- 12:30?\n\n\
                2\n\n00:00:03,000 --> 00:00:04,000\nlate --> text\n\n42\n\
                3\n00:00:05,000 --> 00:00:06,000\n10\n\n9\n\n\n\
                00:00:07,000 --> 00:00:08,000\nx\n6\n00:00:09,000 --> 00:00:10,000\ny\n\n1000";
    let expected = "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\none\ntwo\n7\n- 12:30?\n\n\
                    00:00:03.000 --> 00:00:04.000\nlate --&gt; text\n42\n\n\
                    00:00:05.000 --> 00:00:06.000\n10\n9\n\n\
                    00:00:07.000 --> 00:00:08.000\nx\n\n00:00:09.000 --> 00:00:10.000\ny\n1000\n";
    assert_eq!(srt(text).unwrap(), expected);
}

#[test]
fn cues_of_subrip_without_valid_times_are_errors() {
    let first = "1\n00:00:01,000 --> 00:00:02,000\nx\n\n";
    for (rest, at) in [
        ("2\n00:00:03,000 -> 00:00:04,000\ny\n", 6),
        ("2\n00:00:03,000 --> later\ny\n", 6),
        ("00:00:03 --> 00:00:04\ny\n", 5),
        ("2\n", 5),
        ("2\n\ntext\n", 5),
        ("2\ntext\n", 5),
        ("2\n00:00:04,000 --> 00:00:03,000\ny\n", 6),
    ] {
        assert_eq!(line(srt(&format!("{first}{rest}"))), at, "{rest}");
    }
}

#[test]
fn errors_name_their_line() {
    assert_eq!(vtt("hello"), Err(CaptionError::Header));
    assert_eq!(vtt(""), Err(CaptionError::Header));
    assert_eq!(vtt("WEBVTTx\n\n"), Err(CaptionError::Header));
    assert_eq!(vtt("WEBVTT\n"), Err(CaptionError::Empty));
    for (cue, at) in [
        ("00:00.000 --> 00:01.00\nx", 3),
        ("00:00.000 --> 00:61.000\nx", 3),
        ("00:02.000 --> 00:01.000\nx", 3),
        ("id\n00:02.000 -> 00:03.000\nx", 3),
        ("id\n00:02,000 --> 00:03,000\nx", 4),
        ("00:00.000 --> 00:01.000\nx\n\nstray", 6),
        ("1:2:00:00.000 --> 99999:00:01.000\nx", 3),
        ("\u{661}0:00.000 --> 00:01.000\nx", 3),
    ] {
        assert_eq!(line(vtt(&format!("WEBVTT\n\n{cue}\n"))), at, "{cue}");
    }
    assert_eq!(line(vtt("WEBVTT\n00:00.000 --> 00:01.000\nx\n")), 2);
    assert_eq!(line(srt("hello\n")), 1);
    assert_eq!(line(srt("1\nhello\n")), 1);
    assert_eq!(line(srt("1\n00:00:01,000 --> tomorrow\nx\n")), 2);
    assert_eq!(srt(""), Err(CaptionError::Empty));
    let latin =
        Captions::read(b"1\n00:00:01,000 --> 00:00:02,000\nd\xe9j\xe0\n", Format::Srt, OPEN);
    assert_eq!(latin, Err(CaptionError::Utf8));
    let long = format!("1\n00:00:01,000 --> 00:00:02,000\n{}\n", "x".repeat(5000));
    assert_eq!(line(srt(&long)), 2);
}

#[test]
fn sizes_are_bounded() {
    let large = vec![b'\n'; CAPTIONS_BYTES_MAX + 1];
    assert_eq!(Captions::read(&large, Format::Srt, OPEN), Err(CaptionError::Bytes));
    let cue = "00:01.000 --> 00:02.000\nx\n\n";
    let many = format!("WEBVTT\n\n{}", cue.repeat(CUES_MAX + 1));
    assert_eq!(vtt(&many), Err(CaptionError::Cues));
    // Every character becomes five when it is escaped.
    let text = format!("00:01.000 --> 00:02.000\n{}\n\n", "&".repeat(800));
    let grows = format!("WEBVTT\n\n{}", text.repeat(1000));
    assert_eq!(vtt(&grows), Err(CaptionError::Bytes));
}

/// Bytes that are visited to read a file that begins with `head` and continues with `pattern`.
fn visited(format: Format, head: &str, pattern: &str, bytes: usize) -> u64 {
    let file = format!("{head}{}", pattern.repeat(bytes / pattern.len()));
    let mut budget = ParseBudget::unlimited();
    // Whether it is rejected does not matter here, and how early does: it must not cost more than
    // its length.
    let _refused_or_not = Captions::read_within(&mut budget, file.as_bytes(), format, OPEN);
    budget.visited()
}

#[test]
fn every_file_is_read_in_time_linear_in_its_length() {
    let vtt = "WEBVTT\n\n00:01.000 --> 00:02.000\n";
    let srt = "1\n00:00:01,000 --> 00:00:02,000\n";
    let cue = "00:01.000 --> 00:02.000 line:0 line:0\n<v A>x & {\\an8}\n\n";
    for (format, head, pattern) in [
        (Format::Vtt, vtt, "<"),
        (Format::Vtt, vtt, "<\n"),
        (Format::Vtt, vtt, "&\n\n"),
        (Format::Vtt, "WEBVTT\n\n", cue),
        (Format::Vtt, "WEBVTT\n\n", "NOTE <\n\n"),
        (Format::Vtt, "WEBVTT", "\n"),
        (Format::Vtt, "WEBVTT\n", "x"),
        (Format::Vtt, "WEBVTT\n\n00:01.000 --> 00:02.000 ", "line:0 "),
        (Format::LooseVtt, vtt, "<c>\n\n"),
        (Format::LooseVtt, vtt, "\u{7}\n\n"),
        (Format::LooseVtt, vtt, "a\n\n"),
        (Format::LooseVtt, vtt, " -->\n\n"),
        (Format::Srt, srt, "<"),
        (Format::Srt, srt, "{\\"),
        (Format::Srt, srt, "-->"),
        (Format::Srt, "", "1\n00:00:01,000 --> 00:00:02,000\n{\\<\n\n"),
        (Format::Srt, "", "1"),
        (Format::Srt, "", "\r"),
        (Format::Srt, srt, "7\n\n"),
        (Format::Srt, srt, "1:"),
        (Format::Srt, srt, "a\n\n"),
        (Format::Srt, srt, "7\n00:00:01,000 --> 00:00:02,000\n"),
    ] {
        let costs: Vec<u64> =
            (14..21).map(|doubled| visited(format, head, pattern, 1 << doubled)).collect();
        for (doubled, cost) in (14..).zip(&costs) {
            assert!(*cost <= 8 * (1 << doubled) + 1024, "{format:?} {pattern:?}: {costs:?}");
        }
        let grows = costs.windows(2).all(|pair| pair[1] <= 2 * pair[0] + 4096);
        assert!(grows, "{format:?} {pattern:?}: {costs:?}");
    }
}

#[test]
fn the_length_of_a_cue_is_checked_before_its_markup() {
    let file =
        |bytes: usize| format!("WEBVTT\n\n00:01.000 --> 00:02.000\n{}", "<c>".repeat(bytes / 3));
    let all = file(CUE_SOURCE_BYTES_MAX);
    assert_eq!(vtt(&all), Err(CaptionError::Empty));
    let more = file(CAPTIONS_BYTES_MAX - 64);
    assert_eq!(line(vtt(&more)), 3);
    let mut budget = ParseBudget::unlimited();
    let _refused = Captions::read_within(&mut budget, more.as_bytes(), Format::Vtt, OPEN);
    // The lines are parted, and nothing else.
    assert!(budget.visited() <= 2 * more.len() as u64 + 64, "{budget:?}");
}

#[test]
fn parsing_stops_at_its_deadline() {
    let cue = "00:01.000 --> 00:02.000\nx\n\n";
    let file = format!("WEBVTT\n\n{}", cue.repeat(40_000));
    let mut budget = ParseBudget::until(&|| true);
    let late = Captions::read_within(&mut budget, file.as_bytes(), Format::Vtt, OPEN);
    assert_eq!(late, Err(CaptionError::Late));
    assert!(budget.visited() < file.len() as u64 / 4, "{budget:?}");
}

#[test]
fn cues_are_moved_into_the_video() {
    let text = "WEBVTT\n\n00:00.000 --> 00:01.400\nbefore\n\n00:09.000 --> 00:10.000\nlate\n\n\
                00:01.000 --> 00:02.400\nover the start\n\n00:03.000 --> 00:03.000\nnothing\n\n\
                00:07.000 --> 00:30.000\nover the end\n\n00:11.400 --> 00:12.000\nbeyond\n";
    let window = Window { origin: 1400, length: Some(10_000) };
    let captions = Captions::read(text.as_bytes(), Format::Vtt, window).unwrap();
    let expected = "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nover the start\n\n\
                    00:00:05.600 --> 00:00:10.000\nover the end\n\n\
                    00:00:07.600 --> 00:00:08.600\nlate\n";
    assert_eq!(captions.write().unwrap(), expected);
    let none =
        Captions::read(text.as_bytes(), Format::Vtt, Window { origin: 60_000, length: None });
    assert_eq!(none, Err(CaptionError::Empty));
}

#[test]
fn only_the_canonical_form_is_accepted() {
    let good = "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\na &amp; <b>b</b>\n";
    assert_eq!(Captions::parse_canonical(good.as_bytes(), Some(2000)).unwrap().len(), 1);
    for bad in [
        "WEBVTT\n\n00:01.000 --> 00:02.000\na\n",
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n<c>a</c>\n",
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\na & b\n",
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.001\nlate\n",
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nb\n\n00:00:00.000 --> 00:00:02.000\na\n",
        "WEBVTT\n\nNOTE x\n\n00:00:01.000 --> 00:00:02.000\nb\n",
    ] {
        let rejected = Captions::parse_canonical(bad.as_bytes(), Some(2000));
        assert_eq!(rejected, Err(CaptionError::Form), "{bad}");
    }
}

#[test]
fn ffmpegs_empty_lines_belong_to_the_text_before_them() {
    let text =
        "WEBVTT\n\n00:01.000 --> 00:02.000\none\n\ntwo --> three\n\n00:02.000 --> 00:03.000\nx\n";
    let captions = Captions::read(text.as_bytes(), Format::LooseVtt, OPEN).unwrap();
    let expected = "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\none\ntwo --&gt; three\n\n\
                    00:00:02.000 --> 00:00:03.000\nx\n";
    assert_eq!(captions.write().unwrap(), expected);
}

#[test]
fn a_cue_across_a_segment_boundary_is_in_both_segments() {
    let text = "WEBVTT\n\n00:01.000 --> 00:04.000\na\n\n00:03.500 --> 00:14.500\nb\n\n\
                00:04.000 --> 00:05.000\nc\n\n00:20.000 --> 00:21.000\nd\n";
    let captions = Captions::read(text.as_bytes(), Format::Vtt, OPEN).unwrap();
    let texts = |start, end| -> Vec<String> {
        let segment = captions.segment(start, end);
        let head = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:10.000\n";
        let cues = segment.strip_prefix(head).unwrap();
        cues.lines().filter(|line| line.len() == 1).map(str::to_owned).collect()
    };
    assert_eq!(texts(0, 4000), ["a", "b"]);
    assert_eq!(texts(4000, 14_000), ["b", "c"]);
    assert_eq!(texts(14_000, 20_000), ["b"]);
    assert_eq!(texts(20_000, u64::MAX), ["d"]);
    assert_eq!(texts(30_000, u64::MAX), [""; 0]);
    assert!(captions.segment(4000, 14_000).contains("\n00:00:03.500 --> 00:00:14.500\nb\n"));
}

/// MPEG-2 times have 33 bits; Shaka Player adds a wrap-around per 26.5 h before the segment.
#[test]
fn segments_past_26_hours_map_to_the_videos_own_time() {
    const WRAP: u64 = 1 << 33;
    let text = b"WEBVTT\n\n00:01.000 --> 00:04.000\na\n";
    let captions = Captions::read(text, Format::Vtt, OPEN).unwrap();
    let hour = 3_600_000;
    for start in [0, 26 * hour, 95_443_717, 95_443_718, 27 * hour, 53 * hour, 54 * hour, 168 * hour]
    {
        let segment = captions.segment(start, start + 10_000);
        let map = segment.lines().nth(1).unwrap().strip_prefix("X-TIMESTAMP-MAP=MPEGTS:").unwrap();
        let (mpegts, local) = map.split_once(",LOCAL:").unwrap();
        let mpegts: u64 = mpegts.parse().unwrap();
        assert!(mpegts > 0 && mpegts < WRAP, "{map}");
        let local = local.replace('.', ":").split(':').fold((0, 0), |(total, place), part| {
            let factor = [60, 60, 1000, 1][place];
            ((total + part.parse::<u64>().unwrap()) * factor, place + 1)
        });
        let wraps = start * 90 / WRAP;
        assert_eq!(mpegts + wraps * WRAP, local.0 * 90, "{start}: {map}");
    }
}

fn track(id: u128, label: &str, default: bool, uploaded: bool) -> (Described, bool) {
    let about = Described {
        id: CaptionId::new(Uuid::from_u128(id)),
        language: "en".to_owned(),
        label: label.to_owned(),
        kind: CaptionKind::Subtitles,
        default,
        forced: false,
    };
    (about, uploaded)
}

#[test]
fn lists_have_one_default_and_unique_labels() {
    let defaults = |tracks: &[(&str, bool, bool)]| -> Vec<bool> {
        let tracks = tracks.iter().map(|(label, default, up)| track(1, label, *default, *up));
        listed(tracks.collect()).iter().map(|track| track.default).collect()
    };
    assert_eq!(defaults(&[("a", true, false), ("b", true, false)]), [true, false]);
    assert_eq!(
        defaults(&[("a", true, false), ("b", true, true), ("c", true, true), ("d", false, true)]),
        [false, false, true, false]
    );
    let tracks = ["a", "a (2)", "a", "a"].map(|label| track(1, label, false, true));
    let labels: Vec<String> = listed(tracks.to_vec()).into_iter().map(|t| t.label).collect();
    assert_eq!(labels, ["a", "a (2)", "a (3)", "a (4)"]);
    let same = (0..200_000).map(|_| track(1, "a", false, true)).collect();
    assert_eq!(listed(same).last().map(|track| &*track.label), Some("a (200000)"));
}

#[test]
fn ids_and_renditions_have_only_their_canonical_form() {
    let job = JobId::new(Uuid::from_u128(7));
    let id = id_of_file(job, 0);
    assert_eq!(id, id_of_file(job, 0));
    assert_ne!(id, id_of_file(job, 1));
    assert_ne!(id, id_of_file(JobId::new(Uuid::from_u128(8)), 0));
    assert_eq!(of_rendition(&rendition(id)), Some(id));
    assert_eq!(of_rendition(&format!("text-{}", id.uuid().simple())), None);
    assert_eq!(of_rendition("text-"), None);
    assert_eq!(of_rendition("720p"), None);
}

proptest! {
    /// For any input, the output is in canonical form and contains no markup except that of the
    /// canonical form.
    #[test]
    fn rewriting_is_stable_and_harmless(text in "([<>&/;:.0-9a-z\n -]|<b>|</b>|<v |<lang |&amp;|-->|\\PC){0,200}") {
        let file = format!("WEBVTT\n\n00:01.000 --> 00:02.000\n{text}\n");
        for format in [Format::Vtt, Format::LooseVtt] {
            let Ok(captions) = Captions::read(file.as_bytes(), format, OPEN) else { continue };
            let written = captions.write().unwrap();
            prop_assert_eq!(Captions::parse_canonical(written.as_bytes(), None).unwrap(), captions, "{}", written);
            for tag in written.split('<').skip(1) {
                let name: String =
                    tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphabetic).collect();
                prop_assert!(["b", "i", "u", "ruby", "rt", "v", "lang"].contains(&&*name), "{}", written);
            }
        }
    }

    #[test]
    fn parsers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), head in any::<bool>()) {
        let file = if head { [b"WEBVTT\n\n", &bytes[..]].concat() } else { bytes };
        for format in [Format::Vtt, Format::LooseVtt, Format::Srt] {
            let _ = Captions::read(&file, format, OPEN);
        }
    }
}
