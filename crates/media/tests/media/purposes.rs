//! Audio tracks of one language are distinguished in manifests by their purpose.

use media::{
    index::{AudioDetails, AudioRendition, Chunk, Fragment, Index, Track},
    manifest::{Links, dash::mpd, hls::multivariant},
    purpose::AudioPurpose,
};

use crate::fixture::empty_index;

const PLAIN: AudioPurpose = AudioPurpose {
    description: false,
    clear_speech: false,
    commentary: false,
    dub: false,
    original: false,
};

/// A finished video without pictures that has these audio tracks.
fn index(tracks: &[(&str, &str, AudioPurpose)]) -> Index {
    let mut index = empty_index(media::Grid::of_sound(8.0).unwrap());
    for (number, (label, language, purpose)) in tracks.iter().enumerate() {
        let chunk = |chunk| {
            let fragment = Fragment { bytes: 30_000, intra_bytes: 400, duration: 0 };
            let fragments = index.grid.chunk_gops(chunk).map(|_| fragment).collect();
            Some(Chunk { key: format!("key/{chunk}"), fragments })
        };
        let track = Track {
            codec: "mp4a.40.2".to_owned(),
            timescale: 48_000,
            init: vec![0],
            chunks: (0..index.grid.chunks()).map(chunk).collect(),
            table: None,
        };
        index.audio_renditions.push(AudioRendition {
            name: format!("audio-{number}"),
            label: (*label).to_owned(),
            language: (*language).to_owned(),
            channels: 2,
            target_bitrate: 128_000,
            track,
        });
        index.audio_details.push(AudioDetails { purpose: *purpose, ..AudioDetails::default() });
    }
    index
}

fn five() -> Index {
    index(&[
        ("English", "en", AudioPurpose { original: true, ..PLAIN }),
        ("English (audio description)", "en", AudioPurpose { description: true, ..PLAIN }),
        ("English (commentary)", "en", AudioPurpose { commentary: true, ..PLAIN }),
        ("English (clear speech)", "en", AudioPurpose { clear_speech: true, ..PLAIN }),
        ("Deutsch", "de", AudioPurpose { dub: true, ..PLAIN }),
    ])
}

#[test]
fn hls_states_the_characteristics_of_each_audio_track() {
    let playlist = multivariant(&five(), &Links::default()).unwrap();
    let media: Vec<&str> = playlist.lines().filter(|l| l.starts_with("#EXT-X-MEDIA")).collect();
    for (line, expected) in media.iter().zip([
        "DEFAULT=YES,AUTOSELECT=YES,CHARACTERISTICS=\"public.original-content\",CHANNELS",
        "DEFAULT=NO,AUTOSELECT=YES,CHARACTERISTICS=\"public.accessibility.describes-video\",CHANNELS",
        "DEFAULT=NO,AUTOSELECT=NO,CHARACTERISTICS=\"public.auxiliary-content\",CHANNELS",
        "DEFAULT=NO,AUTOSELECT=YES,\
         CHARACTERISTICS=\"public.accessibility.enhances-speech-intelligibility\",CHANNELS",
        "DEFAULT=NO,AUTOSELECT=YES,CHARACTERISTICS=\"public.translation.dubbed\",CHANNELS",
    ]) {
        assert!(line.contains(expected), "{line}\n{expected}");
    }
    assert_eq!(media.len(), 5);
}

#[test]
fn a_player_never_chooses_between_two_tracks_of_the_same_kind() {
    let twins = index(&[("A", "en", PLAIN), ("B", "eng", PLAIN), ("C", "fr", PLAIN)]);
    let playlist = multivariant(&twins, &Links::default()).unwrap();
    let automatic = |name: &str| {
        let line = playlist.lines().find(|l| l.contains(&format!("NAME=\"{name}\""))).unwrap();
        line.contains("AUTOSELECT=YES")
    };
    assert_eq!(["A", "B", "C"].map(automatic), [true, false, true]);
}

#[test]
fn dash_states_the_role_of_each_audio_track() {
    let mpd = mpd(&five(), i64::MAX, &Links::default()).unwrap();
    let values = |set: &str, element: &str| {
        let lines = set.lines().filter(|line| line.trim_start().starts_with(element));
        let value = |line: &str| line.split('"').nth(3).unwrap_or_default().to_owned();
        lines.map(value).collect::<Vec<_>>()
    };
    let sets = mpd.split("<AdaptationSet").skip(1);
    let stated = sets.map(|set| (values(set, "<Role "), values(set, "<Accessibility ")));
    let stated: Vec<_> = stated.collect();
    let expected = [
        ("main", None),
        ("description", Some("1")),
        ("commentary", None),
        ("enhanced-audio-intelligibility", Some("2")),
        ("dub", None),
    ];
    let owned = |text: &str| text.to_owned();
    let expected = expected.map(|(role, purpose)| {
        (vec![owned(role)], purpose.map(owned).into_iter().collect::<Vec<_>>())
    });
    assert_eq!(stated, expected);
    let plain = index(&[("A", "en", PLAIN), ("B", "fr", PLAIN)]);
    let mpd = media::manifest::dash::mpd(&plain, i64::MAX, &Links::default()).unwrap();
    assert!(mpd.contains("value=\"main\"") && mpd.contains("value=\"alternate\""), "{mpd}");
}

#[test]
fn an_index_without_details_is_written_as_earlier_releases_read_it() {
    let plain = Index { audio_details: Vec::new(), ..five() };
    assert_eq!(plain.encode()[4..6], 3_u16.to_le_bytes());
    assert_eq!(Index::decode(&plain.encode()), Ok(plain));
    let detailed = five();
    assert_eq!(detailed.encode()[4..6], 4_u16.to_le_bytes());
    assert_eq!(Index::decode(&detailed.encode()), Ok(detailed));
}
