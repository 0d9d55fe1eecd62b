//! The schema is applied completely and once, regardless of the number of instances that apply it.

use control::db::{Db, migrate};

use crate::postgres;

#[tokio::test]
async fn migrations_apply_twice() {
    let db = Db::new(&postgres::empty().await, 2).unwrap();
    migrate::run(&db).await.unwrap();
    migrate::run(&db).await.unwrap();
    let applied = crate::rows::number(&db, "SELECT count(*) FROM refinery_schema_history").await;
    assert!(applied >= 1);
}

#[tokio::test]
async fn instances_that_start_together_take_turns() {
    let url = postgres::empty().await;
    let starts = (0..4).map(|_| {
        let url = url.clone();
        async move { migrate::run(&Db::new(&url, 2).unwrap()).await }
    });
    for start in futures::future::join_all(starts).await {
        start.unwrap();
    }
    let db = Db::new(&url, 2).unwrap();
    assert_eq!(crate::rows::number(&db, "SELECT count(*) FROM videos").await, 0);
}
