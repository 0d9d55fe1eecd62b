//! The player's parameters in the query of `/watch/{id}` and `/embed/{id}`.

use api::code::{Code, Problem};

/// Latest position that can be requested, in seconds: longer than every video.
const SECONDS_MAX: f64 = 10_000_000.0;
/// Longest tag of a language.
const LANGUAGE_BYTES_MAX: usize = 35;

/// The parameters of a link.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parameters {
    /// Where playback begins, in seconds.
    pub(super) t: Option<f64>,
    /// Where playback stops, in seconds.
    pub(super) end: Option<f64>,
    /// Whether playback begins by itself; the sound is off then.
    pub(super) autoplay: Option<bool>,
    /// Whether the sound is off.
    pub(super) muted: Option<bool>,
    /// Whether playback begins again at its end.
    pub(super) repeat: Option<bool>,
    /// Whether the player has controls.
    pub(super) controls: Option<bool>,
    /// Whether the player shows the poster.
    pub(super) poster: Option<bool>,
    /// The text track: a language, "1" for the first, "0" for none.
    pub(super) cc: Option<String>,
    /// The language of the interface.
    pub(super) lang: Option<String>,
    /// A playback token.
    pub(super) token: Option<String>,
}

impl Parameters {
    /// Parses a query string.
    ///
    /// # Errors
    /// A parameter is unknown, given twice or invalid; the error names it.
    pub(super) fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut read = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if seen.iter().any(|other| *other == name) {
                return Err(invalid(&name, "is given twice"));
            }
            match name.as_ref() {
                "t" => read.t = Some(time(&name, &value)?),
                "end" => read.end = Some(time(&name, &value)?),
                "autoplay" => read.autoplay = Some(switch(&name, &value)?),
                "muted" => read.muted = Some(switch(&name, &value)?),
                "loop" => read.repeat = Some(switch(&name, &value)?),
                "controls" => read.controls = Some(switch(&name, &value)?),
                "poster" => read.poster = Some(switch(&name, &value)?),
                "cc" if matches!(value.as_ref(), "0" | "1") => read.cc = Some(value.into_owned()),
                "cc" if is_language(&value) => read.cc = Some(value.into_owned()),
                "cc" => return Err(invalid(&name, "must be a language, 1 or 0")),
                "lang" if is_language(&value) => read.lang = Some(value.into_owned()),
                "lang" => return Err(invalid(&name, "must be a language, for example en")),
                "token" => read.token = Some(value.into_owned()).filter(|token| !token.is_empty()),
                _ => {
                    // The name could be a misplaced token.
                    let known = "t, end, autoplay, muted, loop, controls, cc, lang, poster, token";
                    let text = format!("the link has an unknown parameter; known are {known}");
                    return Err(Problem::new(Code::Malformed, text));
                }
            }
            seen.push(name.into_owned());
        }
        if read.end.is_some_and(|end| end <= read.t.unwrap_or(0.0)) {
            return Err(invalid("end", "must be later than t"));
        }
        Ok(read)
    }

    /// The attributes of the player's element, each with a space before it.
    pub(super) fn attributes(&self) -> String {
        let mut written = String::new();
        for (name, seconds) in [("t", self.t), ("end", self.end)] {
            written.extend(seconds.map(|seconds| format!(" {name}=\"{seconds}\"")));
        }
        let autoplay = self.autoplay == Some(true);
        for (name, on) in [
            ("autoplay", autoplay),
            ("muted", autoplay || self.muted == Some(true)),
            ("loop", self.repeat == Some(true)),
            ("poster-off", self.poster == Some(false)),
        ] {
            if on {
                written.push(' ');
                written.push_str(name);
            }
        }
        if self.controls == Some(false) {
            written.push_str(" controls=\"0\"");
        }
        // Languages consist of letters, digits and hyphens.
        for (name, value) in [("cc", &self.cc), ("lang", &self.lang)] {
            written.extend(value.as_ref().map(|value| format!(" {name}=\"{value}\"")));
        }
        written
    }
}

fn invalid(name: &str, text: &str) -> Problem {
    Problem::at(Code::Malformed, name, text)
}

fn switch(name: &str, value: &str) -> Result<bool, Problem> {
    match value {
        "1" => Ok(true),
        "0" => Ok(false),
        _ => Err(invalid(name, "must be 1 or 0")),
    }
}

/// Seconds of a time like `20`, `20.5`, `90s`, `1m30s` or `1h2m3s`.
fn time(name: &str, value: &str) -> Result<f64, Problem> {
    let wrong = || invalid(name, "must be a time, for example 20 or 1m30s");
    let (mut rest, mut seconds) = (value, 0.0);
    for (unit, factor) in [('h', 3600.0), ('m', 60.0)] {
        if let Some((number, after)) = rest.split_once(unit) {
            seconds += factor * decimal(number).filter(|n| n.fract() == 0.0).ok_or_else(wrong)?;
            rest = after;
        }
    }
    let last = rest.strip_suffix('s').unwrap_or(rest);
    if !rest.is_empty() || value.is_empty() {
        seconds += decimal(last).ok_or_else(wrong)?;
    }
    if seconds <= SECONDS_MAX { Ok(seconds) } else { Err(wrong()) }
}

/// A number without a sign or an exponent.
fn decimal(text: &str) -> Option<f64> {
    let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let begins = text.bytes().next()?.is_ascii_digit();
    (digits && begins && text.len() <= 16).then(|| text.parse().ok()).flatten()
}

/// Whether the text has the form of a language tag (BCP 47).
fn is_language(text: &str) -> bool {
    let subtag = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    let mut parts = text.split('-');
    let primary = parts.next().is_some_and(|first| {
        (2..=8).contains(&first.len()) && first.bytes().all(|b| b.is_ascii_alphabetic())
    });
    text.len() <= LANGUAGE_BYTES_MAX && primary && parts.all(subtag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(query: &str) -> String {
        Parameters::read(Some(query)).unwrap().attributes()
    }

    #[test]
    fn parameters_become_attributes_of_the_player() {
        for (query, expected) in [
            ("", ""),
            ("t=20", " t=\"20\""),
            ("t=1m30s&end=1h2m3s", " t=\"90\" end=\"3723\""),
            ("t=20.5&end=90s", " t=\"20.5\" end=\"90\""),
            ("t=2h", " t=\"7200\""),
            ("autoplay=1", " autoplay muted"),
            ("autoplay=0&muted=0&loop=0&controls=1&poster=1", ""),
            ("muted=1&loop=1&controls=0&poster=0", " muted loop poster-off controls=\"0\""),
            ("cc=1", " cc=\"1\""),
            ("cc=pt-BR&lang=de", " cc=\"pt-BR\" lang=\"de\""),
            ("token=", ""),
            ("token=abc", ""),
        ] {
            assert_eq!(attributes(query), expected, "{query}");
        }
        assert_eq!(Parameters::read(Some("token=a%2Bb")).unwrap().token.unwrap(), "a+b");
    }

    #[test]
    fn unknown_repeated_and_invalid_parameters_are_rejected() {
        for query in [
            "x=1",
            "T=1",
            "t",
            "t=",
            "t=-1",
            "t=1e3",
            "t=1m1m",
            "t=s",
            "t=1.5m",
            "t=1s1m",
            "t=.5",
            "t=m",
            "t=99999999999",
            "t=1&t=2",
            "end=0",
            "t=30&end=20",
            "autoplay=true",
            "muted=",
            "controls=2",
            "cc=",
            "cc=%22",
            "cc=en_US",
            "lang=1",
            "lang=x",
            "lang=en--us",
            "loop=on",
        ] {
            let problem = Parameters::read(Some(query)).unwrap_err();
            assert_eq!(problem.code, Code::Malformed, "{query}");
        }
        let secret = Parameters::read(Some("tokenabc")).unwrap_err();
        assert!(!secret.message.contains("abc"), "{}", secret.message);
    }
}
