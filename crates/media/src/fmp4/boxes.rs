//! A bounds-checked reader and a writer of boxes, independent of the meaning of a box.

use super::Mp4Error;

/// A box's four-character code.
pub(crate) type Code = [u8; 4];

/// Reads big-endian fields; every read is checked against the end of the bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    /// Name of the structure, for error messages.
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, what }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Mp4Error> {
        let (taken, rest) =
            self.bytes.split_at_checked(count).ok_or(Mp4Error::Truncated(self.what))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Mp4Error> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| Mp4Error::Truncated(self.what))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Mp4Error> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Mp4Error> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Mp4Error> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Mp4Error> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Mp4Error> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A full box's version and flags.
    pub(crate) fn version_flags(&mut self) -> Result<(u8, u32), Mp4Error> {
        let word = self.u32()?;
        Ok(((word >> 24) as u8, word & 0x00ff_ffff))
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

/// A box within the bytes that were read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoxView<'a> {
    pub(crate) kind: Code,
    /// Offset of its header.
    pub(crate) start: usize,
    /// Offset just past its last byte.
    pub(crate) end: usize,
    pub(crate) body: &'a [u8],
}

/// Kind, header size and total size of the box at the start of `bytes`; `None` when even the header
/// is incomplete. The box itself may extend past `bytes`.
pub(crate) fn header(bytes: &[u8]) -> Result<Option<(Code, usize, u64)>, Mp4Error> {
    let mut reader = Reader::new(bytes, "box");
    let (Ok(size), Ok(kind)) = (reader.u32(), reader.array()) else { return Ok(None) };
    let (head, size) = match size {
        0 => return Err(Mp4Error::Unsupported("box without a size")),
        1 => match reader.u64() {
            Ok(size) => (16, size),
            Err(_) => return Ok(None),
        },
        size => (8, u64::from(size)),
    };
    if size < head as u64 {
        return Err(Mp4Error::Invalid("box size"));
    }
    Ok(Some((kind, head, size)))
}

/// The boxes of `bytes`, which must not contain anything else.
pub(crate) fn walk(bytes: &[u8]) -> impl Iterator<Item = Result<BoxView<'_>, Mp4Error>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= bytes.len() {
            return None;
        }
        let next = box_at(bytes, at);
        at = next.as_ref().map_or(bytes.len(), |b| b.end);
        Some(next)
    })
}

/// The box that starts at `start`; it must be complete.
pub(crate) fn box_at(bytes: &[u8], start: usize) -> Result<BoxView<'_>, Mp4Error> {
    let rest = bytes.get(start..).ok_or(Mp4Error::Truncated("box"))?;
    let (kind, head, size) = header(rest)?.ok_or(Mp4Error::Truncated("box"))?;
    let size = usize::try_from(size).map_err(|_| Mp4Error::Truncated("box"))?;
    let body = rest.get(head..size).ok_or(Mp4Error::Truncated("box"))?;
    Ok(BoxView { kind, start, end: start + size, body })
}

/// The body of the first box of this kind.
pub(crate) fn find<'a>(bytes: &'a [u8], kind: &Code) -> Result<Option<&'a [u8]>, Mp4Error> {
    for next in walk(bytes) {
        let next = next?;
        if next.kind == *kind {
            return Ok(Some(next.body));
        }
    }
    Ok(None)
}

/// The body of the only box of this kind; `name` is used in the error.
pub(crate) fn only<'a>(
    bytes: &'a [u8],
    kind: &Code,
    name: &'static str,
) -> Result<&'a [u8], Mp4Error> {
    let mut found = None;
    for next in walk(bytes) {
        let next = next?;
        if next.kind == *kind && found.replace(next.body).is_some() {
            return Err(Mp4Error::Unsupported(name));
        }
    }
    found.ok_or(Mp4Error::Missing(name))
}

/// Writes boxes into memory.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn zeros(&mut self, count: usize) {
        self.out.resize(self.out.len() + count, 0);
    }

    /// Writes a box around the output of `body`. All boxes written here are headers, far below 4
    /// GiB.
    pub(crate) fn boxed(&mut self, kind: &Code, body: impl FnOnce(&mut Self)) {
        let start = self.out.len();
        self.zeros(4);
        self.bytes(kind);
        body(self);
        let size = (self.out.len() - start) as u32;
        self.out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    }

    /// A box with version and flags.
    pub(crate) fn full(
        &mut self,
        kind: &Code,
        version: u8,
        flags: u32,
        body: impl FnOnce(&mut Self),
    ) {
        self.boxed(kind, |w| {
            w.u32(u32::from(version) << 24 | flags);
            body(w);
        });
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }
}
