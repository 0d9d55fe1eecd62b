//! Closed captions: where they lie in packets, what each channel shows and when, and hostile data.

use media::captions::{
    CaptionError, Captions, ParseBudget, Window,
    closed::{
        Census, Channel, Decoder,
        carriage::{Carriage, is_present},
    },
};
use proptest::prelude::*;

/// A picture lasts this long, in milliseconds.
const PICTURE: i64 = 100;

/// A byte of line 21 with its odd parity.
fn odd(byte: u8) -> u8 {
    if byte.count_ones().is_multiple_of(2) { byte | 0x80 } else { byte }
}

/// A pair in the first (0) or second (1) field.
fn pair(field: u8, [first, second]: [u8; 2]) -> [u8; 3] {
    [0xfc | field, odd(first), odd(second)]
}

/// Pairs with text.
fn text(text: &str) -> Vec<[u8; 2]> {
    let bytes: Vec<u8> = text.bytes().collect();
    bytes.chunks(2).map(|two| [two[0], two.get(1).copied().unwrap_or(0)]).collect()
}

/// A control code, which is sent twice.
fn code(first: u8, second: u8) -> Vec<[u8; 2]> {
    vec![[first, second]; 2]
}

/// Plays one pair per picture from `at` on and returns the time after them.
fn play(decoder: &mut Decoder, field: u8, at: i64, pairs: &[Vec<[u8; 2]>]) -> i64 {
    let mut at = at;
    for found in pairs.concat() {
        decoder.picture(at, &[pair(field, found), pair(1 - field, [0, 0])]);
        at += PICTURE;
    }
    at
}

fn written(decoder: Decoder) -> Result<String, CaptionError> {
    let window = Window { origin: 0, length: Some(60_000) };
    decoder.finish(&mut ParseBudget::unlimited(), window)?.write()
}

#[test]
fn pop_on_captions_are_shown_at_once_and_until_they_are_erased() {
    let mut decoder = Decoder::new(Channel::Line21(1));
    // Row 14 with an indent of 4, then row 15 in italics.
    let load =
        [code(0x14, 0x20), code(0x14, 0x2e), code(0x14, 0x52), text("Where's"), code(0x14, 0x6e)];
    let at = play(&mut decoder, 0, 0, &load);
    let at =
        play(&mut decoder, 0, at, &[text("a <b>"), code(0x11, 0x20), text("?"), code(0x14, 0x2f)]);
    // Shown with the first of the two codes; nothing changes for 3 s.
    assert_eq!(at, 2000);
    let at = play(&mut decoder, 0, at + 3000, &[code(0x14, 0x2c)]);
    assert_eq!(at, 5200);
    let expected = "WEBVTT\n\n00:00:01.800 --> 00:00:05.000\nWhere’s\n<i>a &lt;b&gt;</i> ?\n";
    assert_eq!(written(decoder).unwrap(), expected);
}

#[test]
fn rolled_up_captions_are_one_cue_per_row() {
    let mut decoder = Decoder::new(Channel::Line21(1));
    let begin = [code(0x14, 0x25), code(0x14, 0x2d), code(0x14, 0x70)];
    let mut at = play(&mut decoder, 0, 0, &begin);
    for row in ["one", "two", "three"] {
        at = play(&mut decoder, 0, at, &[text(row)]);
        at = play(&mut decoder, 0, at + 2000, &[code(0x14, 0x2d)]);
    }
    assert_eq!(at, 7900);
    let expected = "WEBVTT\n\n00:00:00.600 --> 00:00:03.000\none\n\n\
                    00:00:03.000 --> 00:00:05.200\none\ntwo\n\n\
                    00:00:05.200 --> 00:00:07.700\ntwo\nthree\n\n\
                    00:00:07.700 --> 00:00:23.800\nthree\n";
    assert_eq!(written(decoder).unwrap(), expected, "erased after 16 s without data");
}

#[test]
fn painted_captions_and_special_characters_are_shown_as_they_come() {
    let mut decoder = Decoder::new(Channel::Line21(1));
    // Row 2; "cafe" with é in place of the last letter; a note; a correction.
    let paint =
        [code(0x14, 0x29), code(0x11, 0x70), text("cafe"), code(0x12, 0x21), code(0x11, 0x37)];
    let at = play(&mut decoder, 0, 0, &paint);
    play(&mut decoder, 0, at, &[code(0x14, 0x21), text("*"), code(0x14, 0x2c)]);
    let expected = "WEBVTT\n\n00:00:00.400 --> 00:00:01.300 line:6%\ncafÉá\n";
    assert_eq!(written(decoder).unwrap(), expected);
}

/// Channels share a field, and extended data services and the text service lie between their text.
#[test]
fn every_channel_gets_only_its_own_text() {
    for (channel, field, first) in [(1, 0, 0x14), (2, 0, 0x1c), (3, 1, 0x15), (4, 1, 0x1d)] {
        let mut decoder = Decoder::new(Channel::Line21(channel));
        let mut census = Census::default();
        let mut at = 0;
        for (number, field, first) in
            [(1, 0, 0x14), (2, 0, 0x1c), (3, 1, 0x15), (4, 1, 0x1d), (0, 1, 0x15)]
        {
            let service = if number == 0 { 0x2a } else { 0x29 };
            let name = format!("channel {number}");
            let pairs = [code(first, service), text(&name), vec![[1, 3]], text("data")].concat();
            for found in if field == 0 { &pairs[..pairs.len() - 3] } else { &pairs } {
                decoder.picture(at, &[pair(field, *found)]);
                census.picture(&[pair(field, *found)]);
                at += PICTURE;
            }
        }
        let erase = code(first, 0x2c);
        play(&mut decoder, field, at, &[erase]);
        let shown = written(decoder).unwrap();
        let lines: Vec<&str> = shown.lines().filter(|line| line.starts_with("channel")).collect();
        assert_eq!(lines, [format!("channel {channel}")], "{shown}");
        assert!(!shown.contains("data"), "{shown}");
        let names: Vec<String> = census.channels().iter().map(Channel::to_string).collect();
        assert_eq!(names, ["CC1", "CC2", "CC3", "CC4"]);
    }
}

/// The triplets of a packet with one block of a service.
fn dtvcc(service: u8, data: &[u8]) -> Vec<[u8; 3]> {
    let mut block = if service < 7 {
        vec![service << 5 | data.len() as u8]
    } else {
        vec![0xe0 | data.len() as u8, service]
    };
    block.extend_from_slice(data);
    let mut packet = vec![(block.len() as u8 + 2) / 2];
    packet.extend(block);
    if packet.len() % 2 == 1 {
        packet.push(0);
    }
    let two = packet.chunks(2).enumerate();
    two.map(|(place, two)| [if place == 0 { 0xff } else { 0xfe }, two[0], two[1]]).collect()
}

/// Defines a window at a vertical anchor, of two rows and 32 columns.
fn window(number: u8, visible: bool, anchor: u8) -> [u8; 7] {
    [0x98 + number, if visible { 0x38 } else { 0x18 }, anchor, 0, 0x01, 31, 0x11]
}

#[test]
fn services_show_their_visible_windows_from_the_top() {
    for service in [1, 9] {
        let mut decoder = Decoder::new(Channel::Service(service));
        let mut census = Census::default();
        let mut play = |at: i64, data: &[u8]| {
            let triplets = dtvcc(service, data);
            decoder.picture(at, &triplets);
            census.picture(&triplets);
            // Another service has other text meanwhile.
            decoder.picture(at, &dtvcc(2, b"\x98\x38\x00\x00\x01\x1f\x11other"));
        };
        play(1000, &window(0, false, 60));
        play(1100, b"bottom");
        play(1200, &[&window(1, false, 10)[..], b"\xe9t\xe9\x0d\x90\x00\x80\x10\x34"].concat());
        play(1300, &[0x89, 0b11]);
        play(3000, &[0x8a, 0b10]);
        play(4000, &[0x80, 0x0c, 0x18, 0x26, 0x3a]);
        play(5000, &[0x8c, 0xff]);
        let expected = "WEBVTT\n\n00:00:01.300 --> 00:00:03.000\nété\n<i>”</i>\nbottom\n\n\
                        00:00:03.000 --> 00:00:04.000\nbottom\n\n\
                        00:00:04.000 --> 00:00:05.000\n☺\n";
        assert_eq!(written(decoder).unwrap(), expected);
        assert_eq!(census.channels(), [Channel::Service(service)]);
    }
}

#[test]
fn rows_of_a_window_scroll_up() {
    let mut decoder = Decoder::new(Channel::Service(1));
    decoder.picture(0, &dtvcc(1, &window(0, true, 60)));
    for (at, row) in [(1000, "one"), (3000, "two"), (5000, "three")] {
        decoder.picture(at, &dtvcc(1, row.as_bytes()));
        decoder.picture(at + 1900, &dtvcc(1, &[0x0d]));
    }
    decoder.picture(8000, &dtvcc(1, &[0x8f]));
    let expected = "WEBVTT\n\n00:00:01.000 --> 00:00:03.000\none\n\n\
                    00:00:03.000 --> 00:00:04.900\none\ntwo\n\n\
                    00:00:04.900 --> 00:00:06.900\ntwo\nthree\n\n00:00:06.900 --> 00:00:08.000\nthree\n";
    assert_eq!(written(decoder).unwrap(), expected);
}

#[test]
fn captions_are_found_in_the_units_of_every_codec() {
    let data = b"GA94\x03\xc2\xff\xfc\x94\x2c\xfd\x80\x80\xff";
    let expected = [[0xfc, 0x94, 0x2c], [0xfd, 0x80, 0x80]];
    let sei = [&[0x04, 3 + data.len() as u8, 0xb5, 0, 0x31][..], data, &[0x80]].concat();
    // Another message comes first.
    let sei = [&[0x05, 0x02, 9, 9][..], &sei].concat();
    let avc = [&[0, 0, 0, 1, 0x06][..], &sei, &[0, 0, 1, 0x65, 1, 2, 3]].concat();
    assert_eq!(Carriage::Avc.cc_data(&avc), expected);
    let hevc = [&[0, 0, 1, 39 << 1, 1][..], &sei].concat();
    assert_eq!(Carriage::Hevc.cc_data(&hevc), expected);
    let mpeg2 = [&[0, 0, 1, 0xb2][..], data, &[0, 0, 1, 0x01, 7]].concat();
    assert_eq!(Carriage::Mpeg2.cc_data(&mpeg2), expected);
    let dvd = b"\0\0\x01\xb2CC\x01\xf8\x82\xff\x94\x2c\xfe\x80\x80\0";
    assert_eq!(Carriage::Mpeg2.cc_data(dvd), expected);
    assert_eq!(Carriage::Track.cc_data(&expected.concat()), expected);
    for piece in [&avc[..], &mpeg2, dvd] {
        assert!(is_present(piece));
    }
    // A zero in the message is followed by a byte that prevents a start code.
    let zeros = b"\0\0\x01\x06\x04\x10\xb5\0\x31GA94\x03\x41\xff\xfc\0\0\x03\0\xff\x80";
    assert_eq!(Carriage::Avc.cc_data(zeros), [[0xfc, 0, 0]]);
    for packet in
        [&b""[..], b"\0\0\x01", b"\0\0\x01\x06\x04\xff", b"\0\0\x01\x06\x04\x07\xb5\0\x31GA94"]
    {
        assert!(Carriage::Avc.cc_data(packet).is_empty());
    }
}

#[test]
fn names_of_channels_have_one_form() {
    for (name, channel) in [
        ("CC1", Some(Channel::Line21(1))),
        ("CC4", Some(Channel::Line21(4))),
        ("SERVICE63", Some(Channel::Service(63))),
        ("CC5", None),
        ("CC01", None),
        ("SERVICE64", None),
        ("", None),
    ] {
        assert_eq!(Channel::parse(name), channel, "{name}");
    }
}

#[test]
fn a_recording_that_is_cut_leaves_nothing_on_the_screen() {
    let mut decoder = Decoder::new(Channel::Line21(1));
    play(&mut decoder, 0, 0, &[code(0x14, 0x29), text("first")]);
    decoder.cut(3000);
    let at = play(&mut decoder, 0, 3000, &[text("lost"), code(0x14, 0x29), text("second")]);
    decoder.cut(at);
    let expected = "WEBVTT\n\n00:00:00.200 --> 00:00:03.000\nfirst\n\n\
                    00:00:03.400 --> 00:00:03.700\nsecond\n";
    assert_eq!(written(decoder).unwrap(), expected);
}

proptest! {
    /// Any data ends in a text track in its canonical form, or in an error.
    #[test]
    fn decoders_never_panic_and_write_canonical_tracks(
        triplets in prop::collection::vec((0xf8_u8..=0xff, any::<u8>(), any::<u8>()), 0..600),
        parity in any::<bool>(),
        number in 1_u8..8,
    ) {
        let fix = |byte: u8| if parity { odd(byte & 0x7f) } else { byte };
        let triplets: Vec<[u8; 3]> =
            triplets.into_iter().map(|(head, a, b)| [head, fix(a), fix(b)]).collect();
        let channel = if number < 5 { Channel::Line21(number) } else { Channel::Service(number - 4) };
        let mut decoder = Decoder::new(channel);
        let mut census = Census::default();
        for (at, picture) in (0..).zip(triplets.chunks(5)) {
            decoder.picture(at * 33, picture);
            census.picture(picture);
        }
        let _ = census.channels();
        if let Ok(text) = written(decoder) {
            prop_assert!(Captions::parse_canonical(text.as_bytes(), Some(60_000)).is_ok(), "{}", text);
        }
    }

    #[test]
    fn packets_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for carriage in [Carriage::Avc, Carriage::Hevc, Carriage::Mpeg2, Carriage::Track] {
            let _ = carriage.cc_data(&bytes);
            let _ = carriage.cc_data(&[b"\0\0\x01\x06\x04", &bytes[..]].concat());
            let _ = carriage.cc_data(&[b"\0\0\x01\xb2GA94\x03", &bytes[..]].concat());
        }
    }
}
