//! Checks request heads on an HTTP/1 connection for ambiguous framing that hyper accepts.
//!
//! hyper drops a `Content-Length` next to a `Transfer-Encoding`, and accepts bare line feeds. A
//! proxy in front may parse such a request differently, so that one of the two sees a request that
//! the other does not (RFC 9112, 6.3 and 11.2). The bytes are therefore checked before hyper
//! receives them. Only heads are checked; bodies are skipped by their length. After a chunked
//! request the connection must close, so the chunks need not be parsed.

/// Length of the longest field name that matters; longer names are ignored.
const NAME_BYTES_MAX: usize = 18;
/// The only accepted transfer coding. A value with other blanks, tabs or lists is rejected, because
/// a proxy that parses it differently from hyper would see a different body.
const CODING: &[u8] = b"chunked";

/// State of the check of one connection.
#[derive(Debug)]
pub(crate) struct HeadScanner {
    state: State,
    /// The start of the current line.
    line: [u8; NAME_BYTES_MAX],
    line_bytes: usize,
    /// The previous byte, for detecting a bare line feed.
    previous: u8,
    in_value: bool,
    head: Head,
    heads: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Head,
    /// This many bytes of a body are still to come.
    Body(u64),
    /// Checking has ended: the connection closes after this request.
    Off,
    /// Not checked: HTTP/2 has its own framing.
    Http2,
}

#[derive(Debug, Default)]
struct Head {
    begun: bool,
    field: Field,
    lengths: u32,
    length: u64,
    encodings: u32,
    /// Number of bytes of the coding's name that match so far.
    coding: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Field {
    #[default]
    Other,
    Length,
    Encoding,
}

/// Consequence of a head for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FramingError {
    /// Ambiguous: reject the request and close the connection.
    Ambiguous,
    /// Chunked body: serve the request, then close the connection.
    Chunked,
}

impl Default for HeadScanner {
    fn default() -> Self {
        Self {
            state: State::Head,
            line: [0; NAME_BYTES_MAX],
            line_bytes: 0,
            previous: 0,
            in_value: false,
            head: Head::default(),
            heads: 0,
        }
    }
}

impl HeadScanner {
    /// Number of complete heads.
    pub(crate) const fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether a head has been received in part.
    pub(crate) fn is_within_head(&self) -> bool {
        self.state == State::Head && (self.head.begun || self.line_bytes > 0)
    }

    /// Whether the client uses HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.state == State::Http2
    }

    /// Checks the next bytes of the connection and returns the most severe finding.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Option<FramingError> {
        let mut worst = None;
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.state {
                State::Off | State::Http2 => return worst,
                State::Body(left) => {
                    let skipped = left.min(bytes.len() as u64);
                    bytes = &bytes[skipped as usize..];
                    self.state =
                        if left > skipped { State::Body(left - skipped) } else { State::Head };
                }
                State::Head => {
                    bytes = rest;
                    match self.head_byte(byte) {
                        Some(FramingError::Ambiguous) => {
                            self.state = State::Off;
                            return Some(FramingError::Ambiguous);
                        }
                        Some(FramingError::Chunked) => worst = Some(FramingError::Chunked),
                        None => {}
                    }
                }
            }
        }
        worst
    }

    fn head_byte(&mut self, byte: u8) -> Option<FramingError> {
        let previous = std::mem::replace(&mut self.previous, byte);
        if byte == b'\n' {
            if previous != b'\r' {
                return Some(FramingError::Ambiguous);
            }
            return self.line_end();
        }
        if self.in_value {
            if self.head.field == Field::Length && byte.is_ascii_digit() {
                let digit = u64::from(byte - b'0');
                self.head.length = self.head.length.saturating_mul(10).saturating_add(digit);
            }
            if self.head.field == Field::Encoding {
                self.coding_byte(byte, previous);
            }
        } else if byte == b':' && self.head.begun {
            self.begin_value();
        } else if byte != b'\r' {
            if let Some(slot) = self.line.get_mut(self.line_bytes) {
                *slot = byte.to_ascii_lowercase();
            }
            self.line_bytes += 1;
        }
        None
    }

    fn coding_byte(&mut self, byte: u8, previous: u8) {
        if byte == b'\r' || (byte == b' ' && previous == b':') {
            return;
        }
        self.head.coding = self.head.coding.and_then(|at| {
            let right = CODING.get(at).is_some_and(|letter| letter.eq_ignore_ascii_case(&byte));
            right.then_some(at + 1)
        });
    }

    fn begin_value(&mut self) {
        self.in_value = true;
        let name = self.line.get(..self.line_bytes).unwrap_or_default();
        self.head.field = match name {
            b"content-length" => Field::Length,
            b"transfer-encoding" => Field::Encoding,
            _ => Field::Other,
        };
        match self.head.field {
            Field::Length => {
                self.head.lengths += 1;
                self.head.length = 0;
            }
            Field::Encoding => {
                self.head.encodings += 1;
                self.head.coding = Some(0);
            }
            Field::Other => {}
        }
    }

    fn line_end(&mut self) -> Option<FramingError> {
        let empty = self.line_bytes == 0 && !self.in_value;
        let preface = !self.head.begun && self.line.starts_with(b"pri * http/2.0");
        self.in_value = false;
        self.line_bytes = 0;
        if preface {
            self.state = State::Http2;
            return None;
        }
        if !empty {
            self.head.begun = true;
            return None;
        }
        if !self.head.begun {
            // Empty lines before a request line are allowed (RFC 9112, 2.2).
            return None;
        }
        let head = std::mem::take(&mut self.head);
        self.heads += 1;
        if head.encodings > 1 || head.lengths > 1 || (head.encodings > 0 && head.lengths > 0) {
            return Some(FramingError::Ambiguous);
        }
        if head.encodings == 1 && head.coding != Some(CODING.len()) {
            return Some(FramingError::Ambiguous);
        }
        if head.encodings == 1 {
            self.state = State::Off;
            return Some(FramingError::Chunked);
        }
        if head.length > 0 {
            self.state = State::Body(head.length);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Option<FramingError> {
        let whole = HeadScanner::default().feed(text.as_bytes());
        let mut scanner = HeadScanner::default();
        let bytewise =
            text.as_bytes().chunks(1).fold(None, |worst, byte| scanner.feed(byte).or(worst));
        assert_eq!(whole, bytewise, "{text}");
        whole
    }

    #[test]
    fn unambiguous_requests_are_accepted() {
        assert_eq!(
            scan("GET /a:b HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
            None
        );
        let body = "\r\nPOST / HTTP/1.1\r\nContent-Length: 31\r\n\r\nTransfer-Encoding: x\nblah\n\n\n\n\n\n";
        assert_eq!(scan(&format!("{body}{body}")), None);
        assert_eq!(scan("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\n\n"), None);
    }

    #[test]
    fn length_beside_encoding_is_ambiguous_in_any_order_and_case() {
        let length = "content-LENGTH: 5\r\n";
        let encoding = "Transfer-Encoding: chunked\r\n";
        for fields in [format!("{length}{encoding}"), format!("{encoding}X: y\r\n{length}")] {
            let text = format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n0\r\n\r\n");
            assert_eq!(scan(&text), Some(FramingError::Ambiguous));
            // The same as a second request, after a body.
            let second = format!("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab{text}");
            assert_eq!(scan(&second), Some(FramingError::Ambiguous));
        }
    }

    #[test]
    fn repeated_framing_and_bare_line_feeds_are_ambiguous() {
        let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(scan(&format!("POST / HTTP/1.1\r\n{twice}\r\n")), Some(FramingError::Ambiguous));
        let lengths = "Content-Length: 1\r\nContent-Length: 1\r\n";
        assert_eq!(
            scan(&format!("POST / HTTP/1.1\r\n{lengths}\r\n")),
            Some(FramingError::Ambiguous)
        );
        assert_eq!(scan("GET / HTTP/1.1\nHost: x\n\n"), Some(FramingError::Ambiguous));
    }

    #[test]
    fn only_the_exact_name_of_a_coding_is_accepted() {
        let of = |coding: &str| {
            scan(&format!("POST / HTTP/1.1\r\nTransfer-Encoding:{coding}\r\n\r\n0\r\n\r\n"))
        };
        for good in [" chunked", "chunked", " Chunked"] {
            assert_eq!(of(good), Some(FramingError::Chunked), "{good:?}");
        }
        for bad in
            ["", " xchunked", " chunked\t", "\tchunked", " chunked ", " gzip, chunked", " chunke"]
        {
            assert_eq!(of(bad), Some(FramingError::Ambiguous), "{bad:?}");
        }
    }

    #[test]
    fn heads_and_their_ends_are_detected() {
        let mut scanner = HeadScanner::default();
        assert!(!scanner.is_within_head());
        for (piece, within, heads) in [
            ("G", true, 0),
            ("ET / HTTP/1.1\r\nHost: x\r\n", true, 0),
            ("\r\n", false, 1),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na", false, 2),
            ("bcG", true, 2),
        ] {
            scanner.feed(piece.as_bytes());
            assert_eq!((scanner.is_within_head(), scanner.heads()), (within, heads), "{piece}");
        }
        let mut scanner = HeadScanner::default();
        scanner.feed(b"PRI * HTTP/2.0\r\n");
        assert!(scanner.is_http2() && !scanner.is_within_head());
    }

    #[test]
    fn requests_with_chunked_bodies_are_reported_as_such() {
        let text = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
        assert_eq!(scan(text), Some(FramingError::Chunked));
    }
}
