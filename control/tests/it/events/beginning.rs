//! The beginning of the first stream of an instance.

use authz::Role;
use control::db::Db;

use super::{Watched, rename, title};
use crate::{
    plane::{Plane, Shared},
    postgres::database,
    rows,
};

/// The reader begins with the first watcher. It may number a change before its own first page.
#[tokio::test]
async fn a_change_right_after_the_first_watcher_is_not_held_back_until_the_next_one() {
    let shared = Shared::new(database().await);
    let mut planes = vec![Plane::of(shared.clone()).await];
    let db = Db::new(&shared.database, 4).unwrap();
    let video = rows::video(&db).await;
    for n in 0..12 {
        let plane = planes.pop().unwrap();
        let (mut watched, _) = Watched::new(&plane.caller(Role::Viewer)).await;
        rename(&db, video, &format!("title {n}")).await;
        assert_eq!(title(&watched.next().await), format!("title {n}"));
        plane.stop().await;
        planes.push(Plane::of(shared.clone()).await);
    }
}
