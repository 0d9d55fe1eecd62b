//! Tests plans of small sources.

use media::{
    Codec, FrameRate, Grid,
    ladder::{LadderError, Profile, default_profiles},
    purpose::AudioPurpose,
    source::{AudioPart, AudioTrack, Source, TextTrack},
};

use super::{Plan, PlanError, TranscodeOptions, lead::RunningChunk, plan};
use crate::domain::{TaskKind, TaskState};

fn source(width: u32, height: u32, seconds: i64) -> Source {
    let report = serde_json::json!({
        "format": "mp4", "duration": seconds, "bytes": 1, "bitrate": 1,
        "video": {
            "index": 0, "codec": "h264", "width": width, "height": height,
            "frame_rate": [25, 1], "time_base": [1, 25], "first_pts": 0,
            "last_pts": seconds * 25 - 1, "interlaced": false, "pixel_format": "yuv420p",
            "transfer": ""
        },
        "audio": [
            {"index": 1, "codec": "aac", "channels": 4, "sample_rate": 48000,
             "language": "ger", "title": ""},
            {"index": 2, "codec": "aac", "channels": 1, "sample_rate": 44100,
             "language": "deu", "title": ""},
            {"index": 3, "codec": "aac", "channels": 2, "sample_rate": 44100,
             "language": "", "title": ""}
        ]
    });
    serde_json::from_value(report).unwrap()
}

fn planned(source: &Source) -> Plan {
    plan(
        source,
        &default_profiles(),
        &TranscodeOptions { hls: true, ..TranscodeOptions::default() },
    )
    .unwrap()
}

#[test]
fn tracks_of_one_language_get_distinct_labels() {
    let mut source = source(640, 360, 10);
    let purposes = [
        AudioPurpose { original: true, ..AudioPurpose::default() },
        AudioPurpose { commentary: true, ..AudioPurpose::default() },
        AudioPurpose { description: true, ..AudioPurpose::default() },
        AudioPurpose { clear_speech: true, ..AudioPurpose::default() },
        AudioPurpose { dub: true, ..AudioPurpose::default() },
        AudioPurpose { dub: true, ..AudioPurpose::default() },
    ];
    let first = source.audio[0].clone();
    let track = |purpose| AudioTrack { purpose, ..first.clone() };
    source.audio = purposes.into_iter().map(track).collect();
    source.audio[1].title = "Director".to_owned();
    let text = |forced, hearing_impaired, commentary| TextTrack {
        codec: "subrip".to_owned(),
        language: "ger".to_owned(),
        forced,
        hearing_impaired,
        commentary,
        ..TextTrack::default()
    };
    source.text = vec![
        text(false, false, false),
        text(true, false, false),
        text(false, true, false),
        text(false, false, true),
    ];
    let plan = planned(&source);
    let labels: Vec<&str> = plan.audio.iter().map(|audio| audio.label.as_str()).collect();
    assert_eq!(
        labels,
        [
            "Deutsch",
            "Director",
            "Deutsch (audio description)",
            "Deutsch (clear speech)",
            "Deutsch (dubbed)",
            "Deutsch (dubbed) (2)"
        ]
    );
    let labels: Vec<&str> = plan.text.iter().map(|text| text.label.as_str()).collect();
    assert_eq!(labels, ["Deutsch", "Deutsch (forced)", "Deutsch (SDH)", "Deutsch (commentary)"]);
}

#[test]
fn notes_of_the_probe_are_repeated_by_every_job() {
    let note = "video track 0 (h264): left out, because it cannot be decoded".to_owned();
    let source = Source { notes: vec![note.clone()], ..source(1280, 720, 10) };
    assert_eq!(planned(&source).notes[0], note);
}

#[test]
fn closed_captions_are_labelled_by_their_language_and_channel() {
    let track = |channel: &str, language: &str| TextTrack {
        codec: "cea_608".to_owned(),
        channel: channel.to_owned(),
        language: language.to_owned(),
        hearing_impaired: true,
        ..TextTrack::default()
    };
    let text = vec![track("CC1", ""), track("SERVICE1", "spa")];
    let plan = planned(&Source { text, ..source(1280, 720, 10) });
    let texts: Vec<_> = plan.text.iter().map(|t| (&*t.label, &*t.language)).collect();
    assert_eq!(texts, [("CC1", "und"), ("Español (SERVICE1)", "es")]);
    assert!(plan.notes.iter().all(|note| !note.contains("subtitle")), "{:?}", plan.notes);
}

#[test]
fn every_rung_of_every_chunk_is_planned_once() {
    for seconds in [1, 3, 4, 5, 24, 100] {
        let plan = planned(&source(1280, 720, seconds));
        let tasks = plan.tasks();
        for chunk in 0..plan.grid.chunks() {
            let of_chunk = tasks.iter().filter(|t| t.kind == TaskKind::Chunk);
            let of_chunk = of_chunk.filter(|t| t.ordinal == chunk);
            let rungs: Vec<&str> = of_chunk.flat_map(|t| &t.rungs).map(String::as_str).collect();
            assert_eq!(rungs, ["360p", "480p", "720p"], "{seconds} s, chunk {chunk}");
        }
        assert_eq!(tasks.iter().filter(|t| t.kind == TaskKind::Audio).count(), 3);
        let collect = tasks.last().unwrap();
        assert_eq!((collect.kind, collect.state), (TaskKind::Collect, TaskState::Blocked));
        assert!(tasks.iter().all(|t| t.weight > 0.0));
    }
}

#[test]
fn a_note_states_how_many_pictures_are_left_out() {
    let mut source = source(1280, 720, 5);
    let of_pictures =
        |plan: &Plan| plan.notes.iter().find(|note| note.contains("pictures")).cloned();
    assert_eq!(of_pictures(&planned(&source)), None);
    let video = source.video.as_mut().unwrap();
    (video.hidden, video.examined) = (37, 63);
    let note = "37 of 63 examined pictures: left out, because they follow one another faster than \
                60 per second";
    assert_eq!(of_pictures(&planned(&source)).as_deref(), Some(note));
}

#[test]
fn images_are_planned_on_request_and_wait_for_the_chunks() {
    let source = source(1280, 720, 100);
    assert!(planned(&source).tasks().iter().all(|t| !t.kind.is_optional()));
    let options =
        TranscodeOptions { thumbnails: Some(10), preview: true, ..TranscodeOptions::default() };
    let plan = plan(&source, &default_profiles(), &options).unwrap();
    assert!(plan.notes.iter().all(|note| !note.contains("preview")), "{:?}", plan.notes);
    let tasks = plan.tasks();
    let optional = tasks.iter().filter(|t| t.kind.is_optional()).map(|t| (t.kind, t.state));
    let blocked = [TaskKind::Thumbnails, TaskKind::Preview].map(|kind| (kind, TaskState::Blocked));
    assert_eq!(optional.collect::<Vec<_>>(), blocked);
    // Plans of jobs that an older version queued have neither field.
    let mut json = serde_json::to_value(&plan).unwrap();
    json.as_object_mut().unwrap().retain(|key, _| key != "pictures" && key != "preview");
    let old: Plan = serde_json::from_value(json).unwrap();
    assert_eq!((old.pictures, old.preview), (None, None));
}

#[test]
fn surround_is_planned_beside_stereo_and_behind_the_chunks() {
    let mut source = source(1280, 720, 100);
    let track = |codec: &str, channels, sample_rate| AudioTrack {
        codec: codec.to_owned(),
        channels,
        sample_rate,
        ..source.audio[0].clone()
    };
    let joined = AudioTrack {
        parts: vec![AudioPart { start: 0, end: 1, index: Some(1), origin: None, samples: 1 }],
        ..track("ac3", 6, 48_000)
    };
    source.audio = vec![
        track("ac3", 6, 48_000),
        track("aac", 2, 48_000),
        track("eac3", 8, 48_000),
        track("ac3", 6, 44_100),
        track("dts", 5, 48_000),
        joined,
        track("pcm_s16le", 16, 48_000),
    ];
    let plan = planned(&source);
    assert!(plan.audio.iter().all(|audio| audio.channels == 2));
    let found = plan.surround.iter().map(|s| (s.rendition(), s.audio, s.codec.text(), s.bitrate));
    let found: Vec<_> = found.collect();
    let expected = [
        ("surround-0", 0, "aac", 320_000),
        ("surround-1", 0, "ac3", 0),
        ("surround-2", 2, "aac", 320_000),
        ("surround-3", 2, "eac3", 0),
        ("surround-4", 3, "aac", 320_000),
        ("surround-5", 4, "aac", 320_000),
        ("surround-6", 5, "aac", 320_000),
    ];
    assert_eq!(found, expected.map(|(name, of, codec, rate)| (name.to_owned(), of, codec, rate)));
    let tasks = plan.tasks();
    let place = |kind| tasks.iter().rposition(|task| task.kind == kind).unwrap();
    let surround = &tasks[place(TaskKind::Surround)];
    let chunk = &tasks[place(TaskKind::Chunk)];
    assert!(place(TaskKind::Surround) > place(TaskKind::Chunk));
    assert_eq!((surround.priority, surround.encoder), (chunk.priority, "libx264"));
    assert!(surround.kind.is_optional() && surround.state == TaskState::Ready);
    // Plans of jobs that an older version queued have no surround.
    let mut json = serde_json::to_value(&plan).unwrap();
    json.as_object_mut().unwrap().retain(|key, _| key != "surround");
    let old: Plan = serde_json::from_value(json).unwrap();
    assert!(old.surround.is_empty());
}

#[test]
fn labels_are_unique_and_omitted_tracks_are_noted() {
    let plan = planned(&source(1280, 720, 10));
    let audio: Vec<_> =
        plan.audio.iter().map(|a| (a.label.as_str(), a.language.as_str(), a.channels)).collect();
    assert_eq!(audio, [("Deutsch", "de", 2), ("Deutsch (2)", "de", 1), ("Audio 3", "und", 2)]);
    assert_eq!(plan.notes.len(), 2);
    assert!(plan.notes[0].starts_with("1080p"));
}

#[test]
fn a_frame_rate_without_a_grid_is_rejected() {
    let mut broken = source(640, 360, 10);
    broken.video.as_mut().unwrap().frame_rate = (0, 1);
    let options = TranscodeOptions::default();
    let error = plan(&broken, &default_profiles(), &options).unwrap_err();
    assert!(matches!(error, PlanError::Source(_)), "{error}");
}

#[test]
fn a_ladder_of_several_codecs_begins_with_h264_and_has_a_task_per_codec() {
    let profile = |name: &str, codec: Codec, width, height, video_bitrate| Profile {
        name: name.to_owned(),
        width,
        height,
        video_bitrate,
        audio_bitrate: 128_000,
        codec,
        preset: codec.default_preset().to_owned(),
        crf: None,
        hardware: None,
    };
    let profiles = [
        profile("low-av1", Codec::Av1, 640, 360, 300_000),
        profile("high", Codec::H264, 1280, 720, 2_800_000),
        profile("high-hevc", Codec::Hevc, 1280, 720, 1_700_000),
        profile("low", Codec::H264, 640, 360, 800_000),
    ];
    let plan = plan(&source(1280, 720, 30), &profiles, &TranscodeOptions::default()).unwrap();
    let names: Vec<&str> = plan.rungs.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["low", "high", "high-hevc", "low-av1"]);
    assert_eq!(plan.preset, "veryfast, superfast, 10");
    let tasks = plan.tasks();
    let of_chunk = |chunk: u32| {
        let tasks = tasks.iter().filter(|t| t.kind == TaskKind::Chunk && t.ordinal == chunk);
        tasks.map(|t| (t.rungs.join(" "), t.encoder)).collect::<Vec<_>>()
    };
    let own = |rungs: &str, codec: Codec| (rungs.to_owned(), codec.encoder());
    let others = [own("high-hevc", Codec::Hevc), own("low-av1", Codec::Av1)];
    let first = [own("low", Codec::H264), own("high", Codec::H264)];
    assert_eq!(of_chunk(0), [&first[..], &others].concat());
    assert_eq!(of_chunk(1), [&[own("low high", Codec::H264)][..], &others].concat());
}

#[test]
fn the_lead_grows_with_the_time_that_a_chunk_takes() {
    let plan = planned(&source(1280, 720, 600));
    let lead = |speed, position| plan.lead_chunks(speed, position);
    // Chunk n begins at 4 s + (n - 1) * 20 s.
    assert!(lead(1.0, 0.0).is_empty(), "fast enough");
    assert_eq!(lead(0.5, 0.0), 1..5, "before 80 s");
    assert_eq!(lead(0.5, 100.0), 1..10);
    assert_eq!(lead(0.0, 0.0), 1..16, "before 300 s");
    assert_eq!(lead(0.1, 10_000.0), 1..plan.grid.chunks());
    let ahead = plan.lead_tasks(3);
    let rungs: Vec<String> = ahead.iter().map(|task| task.rungs.join(" ")).collect();
    assert_eq!(rungs, ["360p", "480p"]);
    let tasks = plan.tasks();
    let whole = tasks.iter().find(|t| t.kind == TaskKind::Chunk && t.ordinal == 3).unwrap();
    let priorities = [ahead[0].priority, ahead[1].priority, whole.priority];
    assert!(priorities.is_sorted_by(|a, b| a > b), "{priorities:?}");
    assert!(ahead.iter().map(|task| task.weight).sum::<f64>() < whole.weight / 2.0);
    let of = |width, height| planned(&source(width, height, 600)).lead_tasks(1);
    assert_eq!(of(640, 360).len(), 1);
    assert_eq!(of(854, 480).len(), 1);
    assert_eq!(of(1920, 1080)[1].rungs.join(" "), "480p 720p");
}

#[test]
fn the_speed_counts_whole_ladders() {
    let plan = planned(&source(1280, 720, 600));
    let tasks = plan.tasks();
    let of = |chunk: u32, rungs: usize, fraction, seconds| {
        let mut chunks = tasks.iter().filter(|t| t.kind == TaskKind::Chunk && t.ordinal == chunk);
        let weight = chunks.find(|t| t.rungs.len() == rungs).unwrap().weight;
        RunningChunk { chunk, weight, fraction, seconds }
    };
    let speed = |running: &[RunningChunk]| plan.ladder_speed(running);
    assert_eq!(speed(&[of(1, 3, 0.1, 4.9)]), None);
    // The first second, in which FFmpeg starts, is not counted.
    let one = speed(&[of(1, 3, 0.5, 11.0)]).unwrap();
    assert!((one - 1.0).abs() < 1e-9, "{one}");
    let two = speed(&[of(1, 3, 0.5, 11.0), of(2, 3, 0.0, 0.0)]).unwrap();
    assert!((two - 2.0).abs() < 1e-9, "{two}");
    // The lowest rung alone is a small part of the ladder.
    let low = speed(&[of(0, 1, 1.0, 5.0)]).unwrap();
    assert!(low < 0.2, "{low}");
    let repeated = RunningChunk { weight: 0.0, ..of(1, 3, 0.5, 11.0) };
    assert_eq!(speed(&[repeated]), None);
}

#[test]
fn an_audio_only_source_has_a_grid_but_no_rungs_and_notes_omissions() {
    let mut source = source(640, 360, 10);
    source.video = None;
    let options = TranscodeOptions {
        profiles: vec!["360p".to_owned()],
        hls: true,
        ..TranscodeOptions::default()
    };
    let plan = super::plan(&source, &default_profiles(), &options).unwrap();
    assert_eq!((plan.rungs.len(), plan.audio.len(), plan.preset.as_str()), (0, 3, ""));
    assert_eq!(plan.audio[0].bitrate, 192_000);
    assert!((plan.grid.duration() - 10.0).abs() < 0.03, "{}", plan.grid.duration());
    assert!(plan.notes[0].starts_with("360p: left out"), "{:?}", plan.notes);
    assert!(plan.tasks().iter().all(|t| t.kind != TaskKind::Chunk));
    let options =
        TranscodeOptions { profiles: vec!["8k".to_owned()], ..TranscodeOptions::default() };
    let error = super::plan(&source, &default_profiles(), &options).unwrap_err();
    let unknown = matches!(error, PlanError::Profile(LadderError::Unknown { index: 0, .. }));
    assert!(unknown, "{error}");
}

#[test]
fn a_stored_plan_from_before_rate_factors_keeps_its_average_bit_rates() {
    let planned = plan(&source(640, 360, 30), &default_profiles(), &TranscodeOptions::default());
    let mut stored = serde_json::to_value(planned.unwrap()).unwrap();
    assert_eq!(stored["rungs"][0]["crf"], Codec::H264.default_crf());
    stored["rungs"][0].as_object_mut().unwrap().remove("crf");
    let read: Plan = serde_json::from_value(stored).unwrap();
    assert_eq!(read.rungs[0].crf, None);
}

/// At an average bit rate SVT-AV1 does not start the last full GOP where the grid needs it, so a
/// ladder with such a rung keeps a short last GOP.
#[test]
fn a_short_remainder_joins_the_last_gop_where_every_encoder_can_place_key_frames() {
    let mut source = source(1280, 720, 4);
    if let Some(video) = &mut source.video {
        video.last_pts += 1;
    }
    let options = TranscodeOptions { hls: true, ..TranscodeOptions::default() };
    let shape = |profiles: &[Profile]| {
        let grid = plan(&source, profiles, &options).unwrap().grid;
        (grid.frames(), grid.gops(), grid.chunks())
    };
    assert_eq!(shape(&default_profiles()), (101, 2, 1));
    for (codec, crf, expected) in [
        (Codec::Av1, Some(34), (101, 2, 1)),
        (Codec::Av1, None, (101, 3, 2)),
        (Codec::Hevc, None, (101, 2, 1)),
        (Codec::H264, None, (101, 2, 1)),
    ] {
        let mut profiles = default_profiles();
        (profiles[1].codec, profiles[1].crf) = (codec, crf);
        assert_eq!(shape(&profiles), expected, "{codec} {crf:?}");
    }
}

#[test]
fn a_grid_keeps_its_rule_in_storage() {
    let rate = FrameRate::new(25, 1).unwrap();
    let plain = Grid::new(rate, 101).unwrap();
    let joined = plain.with_joined_remainder();
    let json = |grid: &Grid| serde_json::to_string(grid).unwrap();
    assert_eq!(json(&plain), "[[25,1],101]", "the form of earlier plans");
    assert_eq!(json(&joined), "[[25,1],101,true]");
    for grid in [plain, joined] {
        assert_eq!(serde_json::from_str::<Grid>(&json(&grid)).unwrap(), grid);
        let value = serde_json::to_value(grid).unwrap();
        assert_eq!(serde_json::from_value::<Grid>(value).unwrap(), grid);
    }
    for bad in ["[[25,1]]", "[[25,1],0]", "[[25,1],101,1]", "[[25,1],101,true,true]", "[[0,1],5]"] {
        assert!(serde_json::from_str::<Grid>(bad).is_err(), "{bad}");
    }
}
