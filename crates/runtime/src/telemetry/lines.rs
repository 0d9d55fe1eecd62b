//! Log lines with the `trace_id` and `span_id` by which collectors join logs and traces. Nothing is
//! added while traces are off.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::context;

/// Lines as formatted by `lines`, in JSON or not, with the ids of the current span at the end.
pub(super) struct Traced<F> {
    pub(super) lines: F,
    pub(super) json: bool,
}

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        about: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(place) = context::present() else {
            return self.lines.format_event(about, writer, event);
        };
        let mut line = String::new();
        self.lines.format_event(about, Writer::new(&mut line), event)?;
        let (trace, span) = (place.trace_id().to_string(), place.span_id().to_string());
        writeln!(writer, "{}", signed(line.trim_end(), self.json, &trace, &span))
    }
}

fn signed(line: &str, json: bool, trace: &str, span: &str) -> String {
    match line.strip_suffix('}') {
        Some(open) if json => {
            format!("{open},\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"}}")
        }
        _ => format!("{line} trace_id={trace} span_id={span}"),
    }
}

#[cfg(test)]
mod tests {
    use super::signed;

    #[test]
    fn ids_are_at_the_end_of_text_and_json_lines() {
        let json = signed(r#"{"level":"INFO","message":"x"}"#, true, "ab", "cd");
        assert_eq!(json, r#"{"level":"INFO","message":"x","trace_id":"ab","span_id":"cd"}"#);
        assert_eq!(signed("INFO x{a=1}", false, "ab", "cd"), "INFO x{a=1} trace_id=ab span_id=cd");
    }
}
