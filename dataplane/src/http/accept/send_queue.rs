//! The kernel's send queue of a connection, read from `/proc/net/tcp`: bytes not sent plus bytes
//! not acknowledged. It is read only for clients that seem too slow.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use runtime::tcp_table::{self, canonical};
use tokio::{sync::Mutex, task::spawn_blocking, time::Instant};

/// The tables are read at most once per this interval, for any number of slow connections.
const FRESH: Duration = Duration::from_millis(250);

/// Local and remote address of a connection.
type Ends = (SocketAddr, SocketAddr);

/// The most recently read tables.
#[derive(Default)]
pub(super) struct SendQueues(Mutex<Option<(Instant, HashMap<Ends, u64>)>>);

impl SendQueues {
    /// Bytes queued from `ends.0` to `ends.1`; 0 if the system does not report them.
    pub(super) async fn unsent(&self, (local, peer): Ends) -> u64 {
        let mut known = self.0.lock().await;
        if known.as_ref().is_none_or(|(read, _)| read.elapsed() >= FRESH) {
            let read = spawn_blocking(|| {
                tcp_table::read().iter().map(|row| ((row.local, row.remote), row.unsent)).collect()
            });
            *known = Some((Instant::now(), read.await.unwrap_or_default()));
        }
        let ends = (canonical(local), canonical(peer));
        known.as_ref().and_then(|(_, queues)| queues.get(&ends)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[tokio::test]
    async fn the_kernel_reports_bytes_that_a_client_has_not_received() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            // Some machines have no IPv6.
            let Ok(listener) = TcpListener::bind(local).await else { continue };
            let address = listener.local_addr().unwrap();
            let mut client = TcpStream::connect(address).await.unwrap();
            let (mut server, peer) = listener.accept().await.unwrap();
            let ends = (address, peer);
            assert_eq!(SendQueues::default().unsent(ends).await, 0);
            let mut written = 0;
            let piece = vec![7; 64 << 10];
            while let Ok(Ok(bytes)) =
                tokio::time::timeout(Duration::from_millis(300), server.write(&piece)).await
            {
                written += bytes;
            }
            let unsent = SendQueues::default().unsent(ends).await as usize;
            assert!(unsent > 0 && unsent < written, "{local}: {unsent} of {written}");
            let mut taken = vec![0; written];
            client.read_exact(&mut taken).await.unwrap();
            let mut left = unsent as u64;
            for _ in 0..100 {
                left = SendQueues::default().unsent(ends).await;
                if left == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(left, 0, "{local}");
        }
    }
}
