//! The connection pool. Every limit is explicit, because bb8's default timeouts are far too long
//! here.

use std::{str::FromStr, time::Duration};

use bb8_postgres::PostgresConnectionManager;
use futures::future::BoxFuture;
use tokio_postgres::{Client, Config, IsolationLevel, NoTls, Transaction};

use super::{DbError, GenericClient, retry};

/// How long a call waits for a free connection.
pub const CHECKOUT_MAX: Duration = Duration::from_secs(2);
/// How long one statement may run; a dropped future leaves its query running until then.
const STATEMENT_MS_MAX: u32 = 10_000;
/// How long one statement may wait for a row lock.
const LOCK_MS_MAX: u32 = 2_000;
const CONNECT_MAX: Duration = Duration::from_secs(2);
const IDLE_MAX: Duration = Duration::from_secs(300);
const LIFETIME_MAX: Duration = Duration::from_secs(1800);

type Manager = PostgresConnectionManager<NoTls>;
/// A connection that returns to the pool when dropped.
pub type Connection<'a> = bb8::PooledConnection<'a, Manager>;

/// The connection pool.
#[derive(Clone, Debug)]
pub struct Db(bb8::Pool<Manager>);

impl Db {
    /// Creates a pool for `url` (a URL or key=value pairs) that connects on first use.
    ///
    /// # Errors
    /// [`DbError::Url`] if the URL is invalid.
    pub fn new(url: &str, size: u32) -> Result<Self, DbError> {
        let mut config = Config::from_str(url).map_err(DbError::Url)?;
        let configured = config.get_options().unwrap_or_default().to_owned();
        let limits = format!(
            "{configured} -c statement_timeout={STATEMENT_MS_MAX} -c lock_timeout={LOCK_MS_MAX} \
             -c idle_in_transaction_session_timeout={STATEMENT_MS_MAX}"
        );
        config.options(limits.trim());
        config.connect_timeout(CONNECT_MAX);
        config.keepalives_idle(Duration::from_secs(10));
        config.tcp_user_timeout(Duration::from_secs(10));
        config.application_name("streaming-control");
        let pool = bb8::Pool::builder()
            .max_size(size)
            .connection_timeout(CHECKOUT_MAX)
            .idle_timeout(Some(IDLE_MAX))
            .max_lifetime(Some(LIFETIME_MAX))
            .test_on_check_out(false)
            .build_unchecked(Manager::new(config, NoTls));
        Ok(Self(pool))
    }

    /// Takes a connection from the pool.
    ///
    /// # Errors
    /// [`DbError::Unreachable`] if no connection is available within [`CHECKOUT_MAX`].
    pub async fn get(&self) -> Result<Connection<'_>, DbError> {
        self.0.get().await.map_err(|e| DbError::Unreachable(Box::new(e)))
    }

    /// Runs `call` on a connection of the pool. After a transient failure it runs again, on another
    /// connection, up to `tries` times in all.
    ///
    /// The future is boxed, and `call` has two bounds, because the compiler cannot prove otherwise
    /// that the callers' futures are `Send`: [`AsyncFn`] types the closure's argument, [`Call`]
    /// makes its future `Send`.
    ///
    /// # Errors
    /// The last error of `call`, or [`DbError::Unreachable`].
    pub fn run<'a, T: Send + 'a>(
        &'a self,
        tries: u32,
        call: impl AsyncFn(&Client) -> Result<T, DbError> + for<'c> Call<&'c Client, T> + 'a,
    ) -> BoxFuture<'a, Result<T, DbError>> {
        Box::pin(async move {
            let call = &call;
            retry(tries, || async move { call(&*self.get().await?).await }).await
        })
    }

    /// Runs `work` in a transaction and commits it, or rolls it back if `work` fails. After a
    /// transient failure everything runs again, up to `tries` times in all.
    ///
    /// # Errors
    /// The last error of `work` or of the commit, or [`DbError::Unreachable`].
    pub fn transact<'a, T: Send + 'a>(
        &'a self,
        tries: u32,
        work: impl AsyncFn(&Transaction<'_>) -> Result<T, DbError>
        + for<'c, 't> Call<&'c Transaction<'t>, T>
        + 'a,
    ) -> BoxFuture<'a, Result<T, DbError>> {
        Box::pin(async move {
            let work = &work;
            retry(tries, || async move {
                let mut connection = self.get().await?;
                let tx = connection.transaction().await?;
                let done = work(&tx).await?;
                tx.commit().await?;
                Ok(done)
            })
            .await
        })
    }

    /// As [`Self::transact`], but commits only if `work` returns `Ok(Ok(_))`. `Ok(Err(_))` rolls
    /// the transaction back and is final, so it is not tried again.
    ///
    /// # Errors
    /// The last error of `work` or of the commit, or [`DbError::Unreachable`].
    pub fn try_transact<'a, T: Send + 'a, R: Send + 'a>(
        &'a self,
        tries: u32,
        work: impl AsyncFn(&Transaction<'_>) -> Result<Result<T, R>, DbError>
        + for<'c, 't> Call<&'c Transaction<'t>, Result<T, R>>
        + 'a,
    ) -> BoxFuture<'a, Result<Result<T, R>, DbError>> {
        Box::pin(async move {
            let work = &work;
            retry(tries, || async move {
                let mut connection = self.get().await?;
                let tx = connection.transaction().await?;
                let done = work(&tx).await?;
                if done.is_ok() {
                    tx.commit().await?;
                }
                Ok(done)
            })
            .await
        })
    }

    /// Opens a connection outside the pool, for session state such as advisory locks.
    ///
    /// # Errors
    /// [`DbError::Statement`] if the connection cannot be opened.
    pub async fn dedicated(&self) -> Result<Client, DbError> {
        Ok(self.0.dedicated_connection().await?)
    }
}

/// Begins a read-only transaction whose statements all see the same state.
///
/// # Errors
/// The connection is lost.
pub async fn snapshot<'c>(connection: &'c mut Connection<'_>) -> Result<Transaction<'c>, DbError> {
    let snapshot = connection.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
    Ok(snapshot.read_only(true).start().await?)
}

/// A function of the database whose future is `Send`; see [`Db::run`].
pub trait Call<A, T>: Fn(A) -> Self::Future + Send + Sync {
    /// The future that it returns.
    type Future: Future<Output = Result<T, DbError>> + Send;
}

impl<A, T, F, Fut> Call<A, T> for F
where
    F: Fn(A) -> Fut + Send + Sync,
    Fut: Future<Output = Result<T, DbError>> + Send,
{
    type Future = Fut;
}

/// The database's clock.
///
/// # Errors
/// The query failed.
pub async fn now(client: &impl GenericClient) -> Result<jiff::Timestamp, DbError> {
    let row = client.query_one("SELECT now() AS now", &[]).await?;
    Ok(row.try_get("now")?)
}
