//! The W3C trace context: one validated `traceparent`. `tracestate` is not passed on, because it is
//! unbounded text from the caller.

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header and metadata key.
pub const TRACEPARENT: &str = "traceparent";

/// Bytes of version, trace id, span id and flags.
const BYTES: usize = 55;
/// Later versions may append fields, but not up to this size.
const BYTES_MAX: usize = 256;

/// The current span as a `traceparent`; `None` while traces are off.
pub fn current() -> Option<String> {
    let context = present()?;
    let flags = context.trace_flags().to_u8();
    let (trace, span) = (context.trace_id(), context.span_id());
    Some(format!("00-{trace}-{span}-{flags:02x}"))
}

/// The context of the current span; `None` outside of spans and while traces are off.
pub(super) fn present() -> Option<SpanContext> {
    let span = Span::current();
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then_some(context)
}

/// Makes `span` a child of the span in `traceparent`; if `traceparent` is invalid, `span` starts a
/// trace of its own. Call it before the span is entered.
pub fn adopt(span: &Span, traceparent: &str) {
    if span.is_disabled() {
        return;
    }
    if let Some(parent) = parse(traceparent) {
        // Fails only for spans that are not collected.
        let _adopted = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

fn parse(text: &str) -> Option<SpanContext> {
    let bytes = text.as_bytes();
    if bytes.len() < BYTES || bytes.len() > BYTES_MAX || !text.is_ascii() {
        return None;
    }
    let later = bytes.len() > BYTES;
    let (version, rest) = (&text[..2], &text[2..BYTES]);
    if later && (version == "00" || bytes[BYTES] != b'-') {
        return None;
    }
    let hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mut parts = rest.strip_prefix('-')?.split('-');
    let (trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?);
    let sized = (trace.len(), span.len(), flags.len()) == (32, 16, 2) && parts.next().is_none();
    if !sized || version == "ff" || ![version, trace, span, flags].into_iter().all(hex) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::parse;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn valid_contexts_are_read() {
        let context = parse(GOOD).unwrap();
        assert!(context.is_remote() && context.is_sampled());
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(!parse(&GOOD.replace("-01", "-00")).unwrap().is_sampled());
        assert!(parse(&format!("01{}-more", &GOOD[2..])).is_some());
    }

    #[test]
    fn invalid_contexts_are_ignored() {
        let zero = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let long = format!("{GOOD}-more");
        let upper = GOOD.to_uppercase();
        let forbidden = format!("ff{}", &GOOD[2..]);
        let wide = "0".repeat(100_000);
        let shifted = GOOD
            .replace("4bf92f3577b34da6a3ce929d0e0e4736-0", "4bf92f3577b34da6a3ce929d0e0e473-60");
        let umlauts = GOOD.replace("4bf9", "äö");
        for bad in ["", "00", zero, &long, &upper, &forbidden, &wide, &shifted, &umlauts] {
            assert!(parse(bad).is_none(), "{}", &bad[..bad.len().min(80)]);
        }
    }
}
