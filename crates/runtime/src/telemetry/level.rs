//! Parses `LOG_LEVEL`.

use tracing_subscriber::EnvFilter;

/// Debug output of libraries is not useful to an operator who debugs this service.
const QUIET: &str = "h2=info,hyper=info,hyper_util=info,tower=info,tonic=info,fred=info,\
     tokio_postgres=info,rustls=info,opentelemetry=info,opentelemetry_sdk=info";

/// A filter, and whether the text was valid.
pub(super) struct Level {
    pub(super) filter: EnvFilter,
    pub(super) is_understood: bool,
}

impl Level {
    /// A bare level applies to this project's code. Invalid text counts as `info`: as a filter, an
    /// unknown word would be taken for a module's name, and all other modules would stop logging.
    pub(super) fn read(text: &str) -> Self {
        let text = text.trim().to_ascii_lowercase();
        let read = match text.as_str() {
            "" => Some("info".to_owned()),
            "debug" | "trace" => Some(format!("{text},{QUIET}")),
            _ => directives(&text),
        };
        let filter = read.and_then(|directives| EnvFilter::try_new(directives).ok());
        let is_understood = filter.is_some();
        Self { filter: filter.unwrap_or_else(|| EnvFilter::new("info")), is_understood }
    }
}

/// Every part must be a level or name a target; if no part is a bare level, the other targets get
/// `info`.
fn directives(text: &str) -> Option<String> {
    let mut parts = Vec::new();
    let mut others = Some("info");
    for part in text.split(',').map(str::trim) {
        match part {
            "off" | "error" | "warn" | "info" | "debug" | "trace" => others = None,
            // A common alias.
            "warning" => {
                others = None;
                parts.push("warn");
                continue;
            }
            _ if !part.contains('=') => return None,
            _ => {}
        }
        parts.push(part);
    }
    parts.extend(others);
    Some(parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::Level;

    fn read(text: &str) -> (String, bool) {
        let level = Level::read(text);
        (level.filter.to_string(), level.is_understood)
    }

    #[test]
    fn levels_and_directives_are_parsed() {
        assert_eq!(read(""), ("info".to_owned(), true));
        assert_eq!(read(" INFO "), ("info".to_owned(), true));
        assert_eq!(read("warning"), ("warn".to_owned(), true));
        assert_eq!(read("off"), ("off".to_owned(), true));
        assert_eq!(read("warn,control=debug"), ("control=debug,warn".to_owned(), true));
        assert_eq!(read("control=debug"), ("control=debug,info".to_owned(), true));
        assert!(read("debug").0.contains("h2=info"));
    }

    #[test]
    fn invalid_text_counts_as_info_and_silences_no_module() {
        for odd in ["verbose", "5", "=,=nonsense=", "info,loud"] {
            let (filter, is_understood) = read(odd);
            assert_eq!((filter.as_str(), is_understood), ("info", false), "{odd}");
        }
    }
}
