//! Returns freed memory to the system after a flood of requests. The allocator alone would keep most of it.

use std::time::Duration;

use crate::shares::{Clients, Kind};

/// The time between two checks of the load.
const INTERVAL: Duration = Duration::from_secs(5);

/// How far the load must fall before a trim is worth its time, in bytes.
const FALL_BYTES: usize = 64 << 20;

/// The estimated memory of one connection or open request, in bytes.
const EACH_BYTES: usize = 16 << 10;

/// Returns freed memory whenever the load has fallen. Never ends.
pub(super) async fn give_back(clients: &Clients) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        if has_fallen(clients) {
            clients.forget_peaks();
            // On a blocking thread, because it holds locks of the allocator for some milliseconds.
            let _ = tokio::task::spawn_blocking(trim).await;
        }
    }
}

/// Whether clients hold much less than at the peak.
fn has_fallen(clients: &Clients) -> bool {
    let bytes = |of: fn(&Clients, Kind) -> usize| {
        let each = [Kind::Connections, Kind::Requests, Kind::Refusals].map(|kind| of(clients, kind) * EACH_BYTES);
        let bytes = [Kind::Bodies, Kind::Responses].map(|kind| of(clients, kind));
        each.iter().chain(&bytes).sum::<usize>()
    };
    bytes(Clients::peak).saturating_sub(bytes(Clients::held)) >= FALL_BYTES
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "no safe crate has this call")]
fn trim() {
    // SAFETY: the function takes no pointer, and the allocator locks what it changes.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators return memory themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shares::{Limit, Limits};

    #[test]
    fn the_load_has_fallen_once_after_a_flood() {
        let limit = Limit { total: usize::MAX, each: usize::MAX };
        let limits = Limits { connections: limit, requests: limit, bodies: limit, responses: limit, streams: limit };
        let clients = Clients::new(limits);
        let client = clients.client([192, 0, 2, 1].into());
        let flood = [client.hold(Kind::Responses, FALL_BYTES / 2), client.hold(Kind::Requests, 4096)];
        assert!(!has_fallen(&clients));
        drop(flood);
        assert!(has_fallen(&clients));
        clients.forget_peaks();
        assert!(!has_fallen(&clients));
    }
}
