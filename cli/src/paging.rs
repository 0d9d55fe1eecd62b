//! Paginated lists: fetches pages until the limit is reached, and returns the token of the next
//! page.

use anyhow::{Result, bail};
use api::limits::PAGE_SIZE_MAX;
use clap::Args;

/// The limit of `--all`; longer lists should be read by a program, page by page.
const ITEMS_MAX: u64 = 100_000;

/// How much of a list is wanted.
#[derive(Args)]
pub(crate) struct PageArgs {
    /// Maximum number of items
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=ITEMS_MAX))]
    limit: u64,
    /// All items, at most 100000
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Continue after another list: its nextPageToken
    #[arg(long, default_value = "", hide_default_value = true)]
    page_token: String,
}

/// The items fetched.
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    /// Token of the next page; empty at the end of the list.
    pub(crate) next: String,
}

impl<T> Listed<T> {
    /// `nextPageToken`, or `None` at the end of the list.
    pub(crate) fn next(&self) -> Option<&str> {
        Some(self.next.as_str()).filter(|token| !token.is_empty())
    }

    /// Prints to standard error that there are more items, so that standard output stays a clean
    /// list.
    pub(crate) fn hint(&self) {
        if let Some(token) = self.next() {
            eprintln!("more items exist: use --all, a larger --limit, or --page-token {token}");
        }
    }
}

/// Calls `page` with (size, token) until the limit is reached. A page is its items and the token of
/// the next page.
pub(crate) async fn fetch_pages<T>(
    wanted: &PageArgs,
    mut page: impl AsyncFnMut(u32, String) -> Result<(Vec<T>, String)>,
) -> Result<Listed<T>> {
    let limit = if wanted.all { ITEMS_MAX } else { wanted.limit };
    let mut listed = Listed { items: Vec::new(), next: wanted.page_token.clone() };
    loop {
        let left = limit.saturating_sub(listed.items.len() as u64);
        let size = u32::try_from(left).unwrap_or(PAGE_SIZE_MAX).min(PAGE_SIZE_MAX);
        let (items, next) = page(size, listed.next.clone()).await?;
        if items.is_empty() && !next.is_empty() {
            bail!("the server returned an empty page");
        }
        listed.items.extend(items);
        listed.next = next;
        if listed.next.is_empty() || listed.items.len() as u64 >= limit {
            return Ok(listed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulates a server with `count` items whose page tokens are positions.
    async fn listed(wanted: PageArgs, count: usize) -> Listed<usize> {
        fetch_pages(&wanted, async |size, token| {
            assert!((1..=PAGE_SIZE_MAX).contains(&size));
            let from: usize = if token.is_empty() { 0 } else { token.parse()? };
            let to = count.min(from + size as usize);
            let next = if to < count { to.to_string() } else { String::new() };
            Ok(((from..to).collect(), next))
        })
        .await
        .unwrap()
    }

    fn wanted(limit: u64, all: bool, token: &str) -> PageArgs {
        PageArgs { limit, all, page_token: token.to_owned() }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn pages_are_joined_and_the_next_page_is_reported() {
        let some = listed(wanted(150, false, ""), 400).await;
        assert_eq!(some.items, (0..150).collect::<Vec<_>>());
        assert_eq!(some.next(), Some("150"));
        let rest = listed(wanted(50, true, "150"), 400).await;
        assert_eq!(rest.items, (150..400).collect::<Vec<_>>());
        assert_eq!(rest.next(), None);
        assert!(listed(wanted(50, false, ""), 0).await.items.is_empty());
        assert_eq!(listed(wanted(50, false, ""), 50).await.next(), None);
    }
}
