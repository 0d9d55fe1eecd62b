//! Parses ISO BMFF boxes; a size that does not fit its parent is an error.

use anyhow::{Context, bail, ensure};

/// A box without its header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Atom<'a> {
    pub(crate) kind: [u8; 4],
    /// Offset of the header from the start of the parent's content.
    pub(crate) start: usize,
    /// Size including the header.
    pub(crate) size: usize,
    pub(crate) body: &'a [u8],
}

impl<'a> Atom<'a> {
    /// The box type as text.
    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(&self.kind).into_owned()
    }

    /// The child boxes, after `skip` bytes of fields.
    pub(crate) fn children(&self, skip: usize) -> anyhow::Result<Vec<Atom<'a>>> {
        list(self.body.get(skip..).with_context(|| format!("{} is too short", self.name()))?)
    }
}

/// The boxes in `data`, which must contain nothing else.
pub(crate) fn list(data: &[u8]) -> anyhow::Result<Vec<Atom<'_>>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let mut reader = Reader::new(&data[at..]);
        let size = reader.u32()? as usize;
        let kind = reader.take(4)?.try_into()?;
        ensure!(
            size >= 8,
            "box {:?} of size {size}",
            String::from_utf8_lossy(&data[at + 4..at + 8])
        );
        let body = data.get(at + 8..at + size).context("box runs past the end")?;
        found.push(Atom { kind, start: at, size, body });
        at += size;
    }
    Ok(found)
}

/// The only box of this type; fails if it is missing or repeated.
pub(crate) fn one<'a>(atoms: &[Atom<'a>], kind: &[u8; 4]) -> anyhow::Result<Atom<'a>> {
    let mut of_kind = atoms.iter().filter(|atom| &atom.kind == kind);
    match (of_kind.next(), of_kind.next()) {
        (Some(atom), None) => Ok(*atom),
        (None, _) => bail!("no {} box", String::from_utf8_lossy(kind)),
        _ => bail!("more than one {} box", String::from_utf8_lossy(kind)),
    }
}

/// Follows a path of container boxes without fields of their own.
pub(crate) fn descend<'a>(atoms: &[Atom<'a>], path: &[&[u8; 4]]) -> anyhow::Result<Atom<'a>> {
    let (first, rest) = path.split_first().context("empty path")?;
    let atom = one(atoms, first)?;
    if rest.is_empty() { Ok(atom) } else { descend(&atom.children(0)?, rest) }
}

/// Reads big-endian fields.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the start of `data`.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> anyhow::Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count).context("field runs past the end")?;
        self.0 = tail;
        Ok(head)
    }

    /// The remaining bytes.
    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }

    /// One byte.
    pub(crate) fn u8(&mut self) -> anyhow::Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// Two bytes.
    pub(crate) fn u16(&mut self) -> anyhow::Result<u16> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into()?))
    }

    /// Four bytes.
    pub(crate) fn u32(&mut self) -> anyhow::Result<u32> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into()?))
    }

    /// Eight bytes.
    pub(crate) fn u64(&mut self) -> anyhow::Result<u64> {
        Ok(u64::from_be_bytes(self.take(8)?.try_into()?))
    }

    /// Version and flags of a full box.
    pub(crate) fn version_flags(&mut self) -> anyhow::Result<(u8, u32)> {
        let word = self.u32()?;
        Ok(((word >> 24) as u8, word & 0x00ff_ffff))
    }
}
