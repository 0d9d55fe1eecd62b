//! Lists a tenant's videos by creation or title, searched and filtered.

use tokio_postgres::{GenericClient, types::ToSql};

use super::row::{COLUMNS, Video};
use crate::{
    db::{DbError, states},
    domain::VideoState,
    page::{Cursor, TitleCursor},
};

/// Which videos a list contains.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// A part of the title in any case; empty for all.
    pub title_part: &'a str,
    /// States; empty for all.
    pub states: &'a [VideoState],
}

/// The order of a list, and the last video of the page before.
#[derive(Clone, Debug)]
pub enum Order {
    /// By creation.
    Created {
        /// Whether the newest is first.
        descending: bool,
        /// The last video of the page before.
        after: Option<Cursor>,
    },
    /// By title, then by id; without the difference of upper and lower case.
    Title {
        /// Whether the last title is first.
        descending: bool,
        /// The last video of the page before.
        after: Option<TitleCursor>,
    },
}

/// Up to `limit` videos after the position in `order`.
pub async fn list(
    db: &impl GenericClient,
    tenant: &str,
    filter: Filter<'_>,
    order: &Order,
    limit: i64,
) -> Result<Vec<Video>, DbError> {
    let title_part = filter.title_part;
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&tenant, &limit];
    let mut conditions = String::new();
    if !title_part.is_empty() {
        values.push(&title_part);
        let part = values.len();
        conditions += &format!(" AND position(title_key(${part}::text) IN title_key(v.title)) > 0");
    }
    conditions += &states::condition("v.state", filter.states.iter().map(|state| state.text()));
    // The expressions of the indexes `videos_by_tenant` and `videos_by_title`.
    let (key, bound, descending) = match order {
        Order::Created { descending, after } => {
            let bound = after.as_ref().map(|after| {
                values.extend([&after.time as &(dyn ToSql + Sync), &after.id]);
                "timestamptz"
            });
            ("v.created_at", bound.map(|of| (of, "")), *descending)
        }
        Order::Title { descending, after } => {
            let bound = after.as_ref().map(|after| {
                values.extend([&after.title as &(dyn ToSql + Sync), &after.id]);
                "text"
            });
            (
                "title_key(v.title) COLLATE title_order",
                bound.map(|of| (of, "title_key")),
                *descending,
            )
        }
    };
    let (direction, compare) = if descending { ("DESC", "<") } else { ("ASC", ">") };
    if let Some((of, function)) = bound {
        let (value, id) = (values.len() - 1, values.len());
        conditions +=
            &format!(" AND ({key}, v.id) {compare} ({function}(${value}::{of}), ${id}::uuid)");
    }
    let sql = format!(
        "SELECT {COLUMNS}
         FROM videos v
         WHERE v.tenant = $1 AND v.deleted_at IS NULL{conditions}
         ORDER BY {key} {direction}, v.id {direction}
         LIMIT $2"
    );
    let rows = db.query(&sql, &values).await?;
    rows.iter().map(Video::try_from).collect()
}
