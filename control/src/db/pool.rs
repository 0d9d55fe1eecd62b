//! The connection pool. Every limit is explicit, because bb8's default timeouts are far too long
//! here.

use std::{str::FromStr, time::Duration};

use bb8_postgres::PostgresConnectionManager;
use tokio_postgres::{Client, Config, NoTls};

use super::DbError;

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
        let given = config.get_options().unwrap_or_default().to_owned();
        let limits = format!(
            "{given} -c statement_timeout={STATEMENT_MS_MAX} -c lock_timeout={LOCK_MS_MAX} \
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

    /// Opens a connection outside the pool, for session state such as advisory locks.
    ///
    /// # Errors
    /// [`DbError::Statement`] if the connection cannot be opened.
    pub async fn dedicated(&self) -> Result<Client, DbError> {
        Ok(self.0.dedicated_connection().await?)
    }
}
