//! The profiles file: TOML tables written by operators, validated as a whole.
//!
//! **Invariant:** a file is accepted or rejected as a whole, and the error of a rejected file lists
//! every mistake.

use toml::{Table, Value};

use crate::{Codec, HardwareEncoder, ladder::Profile};

/// Maximum number of profiles in one file.
pub const PROFILES_MAX: usize = 32;
/// Largest file, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Prefixes of the names of other renditions.
const RESERVED_PREFIXES: [&str; 3] =
    ["audio-", crate::surround::RENDITION_PREFIX, crate::captions::RENDITION_PREFIX];
const NAME_CHARS_MAX: usize = 32;
/// In pixels; the levels of all three codecs end at 8192.
const SIDES: std::ops::RangeInclusive<i64> = 16..=8192;
/// In bit/s.
const VIDEO_BITRATES: std::ops::RangeInclusive<u64> = 50_000..=200_000_000;
/// In bit/s; within the maximum of two-channel AAC-LC at 48 kHz.
const AUDIO_BITRATES: std::ops::RangeInclusive<u64> = 16_000..=512_000;
const FIELDS: [&str; 10] = [
    "name",
    "width",
    "height",
    "video_bitrate",
    "audio_bitrate",
    "codec",
    "preset",
    "rate",
    "crf",
    "encoder",
];
/// Values of `rate`: a constant rate factor, capped by the bit rate, or an average bit rate.
const RATE_CRF: &str = "crf";
const RATE_ABR: &str = "abr";

/// Reads a profiles file.
///
/// # Errors
/// One line per error, with the table and the field.
pub fn parse(text: &str) -> Result<Vec<Profile>, Vec<String>> {
    if text.len() > FILE_BYTES_MAX {
        return Err(vec![format!("the file is larger than {FILE_BYTES_MAX} bytes")]);
    }
    let file: Table = text.parse().map_err(|error: toml::de::Error| vec![syntax(text, &error)])?;
    let mut errors: Vec<String> = file
        .keys()
        .filter(|key| *key != "profile")
        .map(|key| format!("{key:?}: no such table; profiles are [[profile]] tables"))
        .collect();
    let tables = match file.get("profile") {
        Some(Value::Array(tables)) => tables.as_slice(),
        Some(_) => {
            errors.push("profile: must be [[profile]] tables".to_owned());
            &[]
        }
        None => &[],
    };
    if tables.is_empty() && errors.is_empty() {
        errors.push("profile: the file contains no [[profile]] table".to_owned());
    }
    if tables.len() > PROFILES_MAX {
        errors.push(format!("profile: more than {PROFILES_MAX} tables"));
    }
    let mut profiles: Vec<Profile> = Vec::new();
    for (number, table) in (1..).zip(tables.iter().take(PROFILES_MAX)) {
        let Value::Table(table) = table else {
            errors.push(format!("profile {number}: must be a table"));
            continue;
        };
        let mut reader = Reader { number, table, errors: &mut errors };
        let profile = reader.profile();
        if profiles.iter().any(|other| !other.name.is_empty() && other.name == profile.name) {
            reader.problem("name", "is used by an earlier table");
        }
        profiles.push(profile);
    }
    if errors.is_empty() { Ok(profiles) } else { Err(errors) }
}

/// Joins the lines of the parser's message into one.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    format!("line {line}: {message}")
}

/// Reads one table and collects its errors.
struct Reader<'a> {
    /// Number of the table, from 1.
    number: usize,
    table: &'a Table,
    errors: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn profile(&mut self) -> Profile {
        for key in self.table.keys().filter(|key| !FIELDS.contains(&key.as_str())) {
            let known = FIELDS.join(", ");
            self.problem(key, &format!("no such field; known are {known}"));
        }
        let codec = self.codec();
        Profile {
            name: self.name(),
            width: self.read_side("width"),
            height: self.read_side("height"),
            video_bitrate: self.bitrate("video_bitrate", &VIDEO_BITRATES),
            audio_bitrate: self.bitrate("audio_bitrate", &AUDIO_BITRATES),
            codec: codec.unwrap_or_default(),
            preset: self.preset(codec),
            crf: self.crf(codec),
            hardware: self.hardware(codec),
        }
    }

    fn problem(&mut self, field: &str, what: &str) {
        let name = self.table.get("name").and_then(Value::as_str).unwrap_or_default();
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        let suffix = if name.is_empty() { String::new() } else { format!(" ({name:?})") };
        self.errors.push(format!("profile {}{suffix}: {field}: {what}", self.number));
    }

    /// Names are parts of URLs and of object keys, in the same namespace as audio renditions.
    fn name(&mut self) -> String {
        let Some(Value::String(name)) = self.table.get("name") else {
            self.problem("name", "must be a string");
            return String::new();
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let length = name.chars().count();
        if length == 0 || length > NAME_CHARS_MAX || !name.chars().all(plain) {
            let what = format!("must be 1 to {NAME_CHARS_MAX} letters, digits, - and _");
            self.problem("name", &what);
        } else if RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            self.problem("name", "must not begin with audio-, surround- or text-");
        }
        name.clone()
    }

    fn read_side(&mut self, field: &str) -> u32 {
        let side = self.table.get(field).and_then(Value::as_integer);
        match side.filter(|side| SIDES.contains(side)) {
            Some(side) => side as u32,
            None => {
                let (least, most) = (SIDES.start(), SIDES.end());
                self.problem(field, &format!("must be a number of pixels from {least} to {most}"));
                0
            }
        }
    }

    fn bitrate(&mut self, field: &str, allowed: &std::ops::RangeInclusive<u64>) -> u64 {
        let rate = match self.table.get(field) {
            Some(Value::String(text)) => bits(text),
            Some(Value::Integer(rate)) => u64::try_from(*rate).ok(),
            _ => None,
        };
        match rate.filter(|rate| allowed.contains(rate)) {
            Some(rate) => rate,
            None => {
                let (least, most) = (allowed.start() / 1000, allowed.end() / 1000);
                let what = format!("must be a bit rate from \"{least}k\" to \"{most}k\"");
                self.problem(field, &what);
                0
            }
        }
    }

    fn codec(&mut self) -> Option<Codec> {
        let codec = match self.table.get("codec") {
            None => return Some(Codec::default()),
            Some(value) => value.as_str().and_then(Codec::parse),
        };
        if codec.is_none() {
            let known: Vec<&str> = Codec::ALL.iter().map(|codec| codec.text()).collect();
            self.problem("codec", &format!("must be one of {}", known.join(", ")));
        }
        codec
    }

    fn preset(&mut self, codec: Option<Codec>) -> String {
        let preset = match self.table.get("preset") {
            None => return codec.unwrap_or_default().default_preset().to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Integer(number)) => number.to_string(),
            Some(_) => String::new(),
        };
        // The valid presets depend on the codec; an invalid codec has already been reported.
        if let Some(codec) = codec.filter(|codec| !codec.has_preset(&preset)) {
            self.problem("preset", &format!("must be one of {codec}'s: {}", codec.presets()));
        }
        preset
    }

    /// The constant rate factor; `None` for an average bit rate.
    fn crf(&mut self, codec: Option<Codec>) -> Option<u32> {
        let average = match self.table.get("rate") {
            None => false,
            Some(Value::String(rate)) if rate == RATE_CRF => false,
            Some(Value::String(rate)) if rate == RATE_ABR => true,
            Some(_) => {
                self.problem("rate", &format!("must be one of {RATE_CRF}, {RATE_ABR}"));
                return None;
            }
        };
        let given = self.table.get("crf");
        if average {
            if given.is_some() {
                self.problem("crf", &format!("is not allowed together with rate = {RATE_ABR:?}"));
            }
            return None;
        }
        // The default and the range depend on the codec; an invalid codec has already been reported.
        let codec = codec?;
        let Some(given) = given else { return Some(codec.default_crf()) };
        let number = given.as_integer().and_then(|number| u32::try_from(number).ok());
        let crf = number.filter(|number| codec.crfs().contains(number));
        if crf.is_none() {
            let (least, most) = (*codec.crfs().start(), *codec.crfs().end());
            self.problem("crf", &format!("must be a number from {least} to {most} for {codec}"));
        }
        crf
    }

    /// The hardware encoder; `None` for the codec's software encoder.
    fn hardware(&mut self, codec: Option<Codec>) -> Option<HardwareEncoder> {
        let given = self.table.get("encoder")?;
        let Some(hardware) = given.as_str().and_then(HardwareEncoder::parse) else {
            let known = HardwareEncoder::ALL.map(HardwareEncoder::text).join(", ");
            self.problem("encoder", &format!("must be one of {known}"));
            return None;
        };
        // An invalid codec has already been reported.
        if let Some(codec) = codec.filter(|codec| *codec != hardware.codec()) {
            self.problem("encoder", &format!("{hardware} does not encode {codec}"));
        }
        Some(hardware)
    }
}

/// Parses "2800k", "2.5M" or "96000" into bit/s.
fn bits(text: &str) -> Option<u64> {
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1e3),
        None => text.strip_suffix('M').map_or((text, 1.0), |digits| (digits, 1e6)),
    };
    let plain = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number: f64 = digits.parse().ok().filter(|_| plain)?;
    let rate = (number * unit).round();
    (rate < 1e12).then_some(rate as u64)
}
