//! Checks captured streams against the rules of the specifications, by the numbers of
//! docs/conformance.md (H1, D3, C2...). It shares no code with the service, so that it can disagree
//! with it.

pub(crate) mod boxes;
pub(crate) mod codec;
pub(crate) mod dash;
pub(crate) mod fmp4;
pub(crate) mod hls;
pub(crate) mod hls_media;
pub(crate) mod text;
pub(crate) mod trick_play;

use std::fmt;

use crate::harness::capture::{Part, Track};

/// A rule violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// For example "H12".
    pub(crate) rule: &'static str,
    /// The problem and its location.
    pub(crate) message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.message)
    }
}

/// Collects rule violations.
#[derive(Debug, Default)]
pub(crate) struct Violations(pub(crate) Vec<Violation>);

impl Violations {
    /// Records a violation unless `holds`.
    pub(crate) fn require(&mut self, rule: &'static str, holds: bool, message: impl Into<String>) {
        if !holds {
            self.0.push(Violation { rule, message: message.into() });
        }
    }

    /// Panics with the list of all violations, if there are any.
    pub(crate) fn assert_none(&self, what: &str) {
        let lines: Vec<String> = self.0.iter().map(Violation::to_string).collect();
        assert!(lines.is_empty(), "{what} breaks rules:\n{}", lines.join("\n"));
    }
}

/// Whether the video was complete when it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Still being encoded.
    Growing,
    /// Complete.
    Final,
}

/// A rendition whose boxes have been parsed.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub(crate) name: String,
    pub(crate) init: fmp4::Init,
    pub(crate) segments: Vec<ParsedSegment>,
}

/// The fragments of a media segment.
#[derive(Clone, Debug)]
pub(crate) struct ParsedSegment {
    pub(crate) path: String,
    pub(crate) bytes: usize,
    pub(crate) fragments: Vec<fmp4::Fragment>,
}

impl ParsedSegment {
    /// The actual length in ticks.
    pub(crate) fn ticks(&self) -> u64 {
        self.fragments.iter().map(fmp4::Fragment::ticks).sum()
    }
}

impl Parsed {
    /// The actual length of a segment in seconds.
    pub(crate) fn seconds(&self, segment: &ParsedSegment) -> f64 {
        segment.ticks() as f64 / f64::from(self.init.timescale.max(1))
    }

    /// The actual length of the rendition in seconds.
    pub(crate) fn duration(&self) -> f64 {
        self.segments.iter().map(|segment| self.seconds(segment)).sum()
    }
}

/// Parses every box of `tracks` and checks the CMAF rules; a track that cannot be parsed is left
/// out.
pub(crate) fn parse(tracks: &[Track], violations: &mut Violations) -> Vec<Parsed> {
    let mut parsed = Vec::new();
    for track in tracks {
        let segment = |part: &Part| {
            let fragments = fmp4::fragments(&part.bytes)?;
            let (path, bytes) = (part.path.clone(), part.bytes.len());
            anyhow::Ok(ParsedSegment { path, bytes, fragments })
        };
        let init = fmp4::init(&track.init);
        let segments: anyhow::Result<Vec<_>> = track.segments.iter().map(segment).collect();
        match (init, segments) {
            (Ok(init), Ok(segments)) => {
                parsed.push(Parsed { name: track.name.clone(), init, segments });
            }
            (init, segments) => {
                let error = init.err().or(segments.err()).map(|e| format!("{e:#}"));
                violations.require(
                    "C1",
                    false,
                    format!("{}: {}", track.name, error.unwrap_or_default()),
                );
            }
        }
    }
    fmp4::check(&parsed, violations);
    parsed
}
