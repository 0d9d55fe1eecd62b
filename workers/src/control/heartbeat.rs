//! Heartbeats and the number of free slots, sent to control.

use std::time::Instant;

use api::v1::{self, worker_message::Message as ToControl};

use super::ControlClient;

impl ControlClient {
    pub(super) fn send_heartbeat(&mut self, now: Instant) {
        self.heartbeat_due = now + self.heartbeat;
        if self.connection.is_some() {
            let heartbeat = self.leases.heartbeat(now);
            self.send(ToControl::Heartbeat(heartbeat));
            // Sends `Want` again as well, so that a difference between the two counts lasts at most one heartbeat.
            self.wanted = None;
        }
    }

    /// Sends the number of tasks that the worker can start, if it has changed or control may not know it.
    pub(super) fn send_free_slots(&mut self) {
        if self.connection.is_none() {
            return;
        }
        let busy = self.leases.len().max(self.tasks.len());
        let free = || self.context.scratch.free_bytes();
        let want = if self.draining || self.pause.is_on(Instant::now(), free) {
            v1::Want::default()
        } else {
            self.config.want(busy)
        };
        if Some(want) != self.wanted {
            self.wanted = Some(want);
            let leases_received = Some(self.leases_received);
            self.send(ToControl::Want(v1::Want { leases_received, ..want }));
        }
    }
}
