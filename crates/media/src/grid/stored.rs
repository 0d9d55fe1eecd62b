//! The stored form of a grid: `[rate, frames]`, in plans (JSON) with a third element `true` if the
//! last GOP takes a short remainder. Binary formats store tuples of fixed length, so the index
//! keeps that third part elsewhere.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, SeqAccess, Visitor},
    ser::SerializeTuple,
};

use super::{FrameRate, Grid};

impl Serialize for Grid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let joined = self.joined && serializer.is_human_readable();
        let mut tuple = serializer.serialize_tuple(if joined { 3 } else { 2 })?;
        tuple.serialize_element(&self.rate)?;
        tuple.serialize_element(&self.frames)?;
        if joined {
            tuple.serialize_element(&true)?;
        }
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for Grid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let elements = if deserializer.is_human_readable() { 3 } else { 2 };
        deserializer.deserialize_tuple(elements, GridVisitor)
    }
}

struct GridVisitor;

impl<'de> Visitor<'de> for GridVisitor {
    type Value = Grid;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a frame rate, a number of frames and, optionally, a boolean")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Grid, A::Error> {
        let missing = |place| A::Error::invalid_length(place, &self);
        let rate: FrameRate = seq.next_element()?.ok_or_else(|| missing(0))?;
        let frames = seq.next_element()?.ok_or_else(|| missing(1))?;
        let grid = Grid::new(rate, frames).map_err(A::Error::custom)?;
        match seq.next_element()? {
            Some(true) => Ok(grid.with_joined_remainder()),
            _ => Ok(grid),
        }
    }
}
