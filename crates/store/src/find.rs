//! Reads an object from the store that has it.

use crate::{Store, Stores};

impl Stores {
    /// Reads an object from `first`, then from the other stores until one has it; `None` if no
    /// store does. Stores may have been added since a video was created, so its objects may be in
    /// any of them.
    ///
    /// # Errors
    /// The first error of `read`, if no other store has the object.
    pub async fn find<'a, T, E, F>(
        &'a self,
        first: &'a Store,
        read: impl Fn(&'a Store) -> F,
    ) -> Result<Option<T>, E>
    where
        F: Future<Output = Result<Option<T>, E>>,
    {
        let others = self.all().iter().filter(|store| store.url != first.url);
        let mut failed = None;
        for store in std::iter::once(first).chain(others) {
            match read(store).await {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }
}

#[cfg(test)]
mod tests {
    use crate::Stores;

    #[tokio::test]
    async fn the_first_store_is_read_before_the_others_and_an_error_only_counts_without_a_result() {
        let folder = tempfile::tempdir().unwrap();
        let urls = ["a", "b", "c"].map(|name| format!("file://{}/{name}", folder.path().display()));
        let stores = Stores::parse(&urls.join(",")).unwrap();
        let first = stores.get(&urls[1]).unwrap();
        let read = std::cell::RefCell::new(Vec::new());
        let find = async |has: &str, fails: &str| {
            let found = stores.find(first, async |store| {
                let name = store.url[store.url.len() - 1..].to_owned();
                read.borrow_mut().push(name.clone());
                if name == fails {
                    return Err(name);
                }
                Ok((name == has).then_some(name))
            });
            let found = found.await;
            (found, read.take().concat())
        };
        assert_eq!(find("c", "b").await, (Ok(Some("c".to_owned())), "bac".to_owned()));
        assert_eq!(find("b", "a").await, (Ok(Some("b".to_owned())), "b".to_owned()));
        assert_eq!(find("", "a").await, (Err("a".to_owned()), "bac".to_owned()));
        assert_eq!(find("", "").await, (Ok(None), "bac".to_owned()));
    }
}
