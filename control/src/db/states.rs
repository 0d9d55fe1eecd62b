//! Reads and binds the states and kinds of [`crate::domain`], which the database stores as their
//! texts.

use tokio_postgres::Row;

use super::DbError;
use crate::domain::{JobState, TaskKind, TaskState, VideoState};

/// A type that is stored as a text.
pub(super) trait Stored: Sized {
    /// The value of this text.
    fn of_text(text: &str) -> Option<Self>;
}

impl Stored for VideoState {
    fn of_text(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Stored for JobState {
    fn of_text(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Stored for TaskState {
    fn of_text(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Stored for TaskKind {
    fn of_text(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

/// Reads a column of `row`, which is the row `id` of `table`.
pub(super) fn read<T: Stored>(
    row: &Row,
    column: &'static str,
    (table, id): (&'static str, impl ToString),
) -> Result<T, DbError> {
    let text: &str = row.try_get(column)?;
    T::of_text(text).ok_or_else(|| DbError::row(table, column, id))
}

/// Kinds as a parameter, for `kind = ANY ($1)`.
pub(super) fn texts(kinds: &[TaskKind]) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.text()).collect()
}

/// The kinds that have a property, as a parameter.
pub(super) fn kinds(has: impl Fn(TaskKind) -> bool) -> Vec<&'static str> {
    texts(&TaskKind::with_property(has))
}

/// A condition on the states of a list, which begins with AND; empty without states. They are
/// constants, not parameters: the planner knows how many rows have them, and reads those of a rare
/// state from an index.
pub(super) fn condition(
    column: &'static str,
    states: impl Iterator<Item = &'static str>,
) -> String {
    let states: Vec<String> = states.map(|state| format!("'{state}'")).collect();
    if states.is_empty() {
        return String::new();
    }
    format!(" AND {column} IN ({})", states.join(", "))
}
