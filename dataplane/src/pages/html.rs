//! Writes HTML: escaping, and pages without a script of their own.

use std::fmt::Write;

use http::{Response, StatusCode, header};

use crate::http::{
    cache::CachePolicy,
    reply::{self, Body, Reply},
};

/// The media type of every page.
pub(crate) const HTML_TYPE: &str = "text/html; charset=utf-8";

/// Legible in both colour schemes, without a file of its own.
pub(super) const STYLE: &str = "<style>:root{color-scheme:light dark}\
    body{margin:0;font:1rem/1.5 system-ui,sans-serif}\
    main{max-width:60rem;margin:0 auto;padding:1.5rem}</style>";

/// Escapes text for an element's content or a quoted attribute. Control characters, which HTML does
/// not allow, become U+FFFD.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(letter),
            _ if letter.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// JSON for the content of a `script` element: no character in it can end the element.
pub(crate) fn json_in_script(value: &serde_json::Value) -> String {
    value.to_string().replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

/// A whole page. `head` and `body` are HTML, `title` and `lang` are text.
pub(super) fn page(lang: &str, title: &str, head: &str, body: &str) -> String {
    let (lang, title) = (escape(lang), escape(title));
    let mut page = String::with_capacity(512 + head.len() + body.len());
    // Writing into memory cannot fail.
    let _written = write!(
        page,
        "<!doctype html>\n<html lang=\"{lang}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n{head}</head>\n<body>\n{body}</body>\n</html>\n"
    );
    page
}

/// A page that consists of a heading and a text, never stored: an error, or that a page cannot be
/// shown.
pub(crate) fn message(status: StatusCode, heading: &str, text: &str) -> Reply {
    let head = format!("<meta name=\"robots\" content=\"noindex\">\n{STYLE}\n");
    let body = format!("<main>\n<h1>{}</h1>\n<p>{}</p>\n</main>\n", escape(heading), escape(text));
    let mut reply = Response::new(Body::full(page("en", heading, &head, &body).into()));
    *reply.status_mut() = status;
    reply::set(&mut reply, header::CONTENT_TYPE, HTML_TYPE);
    reply.headers_mut().insert(header::CACHE_CONTROL, CachePolicy::NoStore.header(true));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_element_or_attribute() {
        let text = "</h1><script>alert('1')</script>\" onload=\"x & \u{0}\u{1b}\n";
        let escaped = escape(text);
        assert!(!escaped.contains(['<', '>', '"', '\'', '\0', '\u{1b}']), "{escaped}");
        assert!(escaped.starts_with("&lt;/h1&gt;&lt;script&gt;alert(&#39;1&#39;)"), "{escaped}");
        assert!(escaped.ends_with("x &amp; \u{fffd}\u{fffd}\n"), "{escaped}");
    }

    #[test]
    fn json_cannot_end_its_script_element_and_reads_back() {
        let value = serde_json::json!({ "name": "</script><!--<script>&amp;\u{2028}\"" });
        let json = json_in_script(&value);
        assert!(!json.contains(['<', '>', '&']), "{json}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
    }
}
