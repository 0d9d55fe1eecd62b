//! Sample tables: the sizes and times of all samples, which a progressive file lists in its header
//! and fragments only state one by one. They are read from each chunk at admission and collected
//! per rendition when the video is finished.

use serde::{Deserialize, Serialize};

use crate::fmp4::{
    Mp4Error, boxes,
    fragment::{self, Defaults},
};

/// First bytes of an encoded table.
const MAGIC: [u8; 4] = *b"SVST";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 4 + 2 + blake3::OUT_LEN;
/// Largest encoded table, in bytes: a day of video needs about 12 MiB.
pub const TABLE_BYTES_MAX: u64 = 128 << 20;

/// The samples of one fragment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GopTable {
    /// Bytes of the fragment before its first sample.
    pub head: u32,
    /// Sizes in bytes, in decode order.
    pub sizes: Vec<u32>,
    /// From decoding to presentation, in sample durations; empty when all are zero.
    pub compositions: Vec<u32>,
}

/// The fragments of one chunk.
pub type ChunkTable = Vec<GopTable>;

/// Reads the tables of a stored chunk: concatenated fragments whose samples last `ticks` each.
///
/// # Errors
/// The bytes are not canonical fragments.
pub fn of_chunk(bytes: &[u8], ticks: u32) -> Result<ChunkTable, Mp4Error> {
    let mut table = ChunkTable::new();
    let mut at = 0;
    while at < bytes.len() {
        let moof = boxes::box_at(bytes, at)?;
        let mdat = boxes::box_at(bytes, moof.end)?;
        let entries = fragment::read(moof.body, Defaults::default())?.entries;
        let head = (mdat.end - mdat.body.len() - at) as u32;
        let mut gop = GopTable { head, ..GopTable::default() };
        for entry in &entries {
            gop.sizes.push(entry.size);
            let offset = u32::try_from(entry.composition_offset).unwrap_or(0);
            gop.compositions.push(offset / ticks.max(1));
        }
        if gop.compositions.iter().all(|composition| *composition == 0) {
            gop.compositions = Vec::new();
        }
        table.push(gop);
        at = mdat.end;
    }
    Ok(table)
}

/// Encodes the tables of a rendition's chunks, in order, for [`decode`].
pub fn encode(chunks: &[ChunkTable]) -> Vec<u8> {
    // Serializing into memory cannot fail: they contain no maps, unsized sequences or custom
    // serializers.
    let payload = postcard::to_stdvec(chunks).unwrap_or_default();
    let mut out = Vec::with_capacity(HEADER_BYTES + payload.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(blake3::hash(&payload).as_bytes());
    out.extend_from_slice(&payload);
    out
}

/// Decodes tables; `None` when they are damaged or of another version.
pub fn decode(bytes: &[u8]) -> Option<Vec<ChunkTable>> {
    let (header, payload) = bytes.split_at_checked(HEADER_BYTES)?;
    let known = header[..4] == MAGIC && header[4..6] == VERSION.to_le_bytes();
    if !known || header[6..] != *blake3::hash(payload).as_bytes() {
        return None;
    }
    match postcard::take_from_bytes(payload) {
        Ok((chunks, [])) => Some(chunks),
        _ => None,
    }
}
