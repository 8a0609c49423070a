//! Reloads of the manifest under the same load as the swaps.
//!
//! Each reload changes a limit of orders, so it makes a new revision, and opens or closes a listener. Every tenth moves the gateway to
//! another port.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use comptoir::manifest::Manifest;
use testing::Shop;

use super::{GROWTH_KIB, Lab, MORE_FILES, Usage, milliseconds, row};

/// After so many reloads, the gateway moves.
const MOVES: usize = 10;

/// The measurements of all reloads.
pub(crate) struct Reloads {
    /// How long each took, sorted.
    took: Vec<Duration>,
    /// After a tenth of the reloads, and after the last one.
    usage: [Usage; 2],
}

/// Reloads so many times, while the clients of the laboratory send requests.
pub(crate) async fn reload(lab: &Lab, shop: &mut Shop, reloads: usize) -> Reloads {
    let shipped = shop.manifest();
    let (mut gateway, mut took) = (shipped.listeners.gateway, Vec::with_capacity(reloads));
    let mut warm = Usage::now();
    for number in 1..=reloads {
        if number % MOVES == 0 {
            gateway = free();
        }
        let next = manifest(&shipped, number, gateway);
        let began = Instant::now();
        shop.reload(next).await.succeeds(200);
        took.push(began.elapsed());
        lab.move_to(shop.addresses().gateway);
        if number == reloads.div_ceil(10) {
            warm = Usage::now();
        }
    }
    took.sort_unstable();
    Reloads { took, usage: [warm, Usage::now()] }
}

fn manifest(shipped: &Manifest, number: usize, gateway: SocketAddr) -> Manifest {
    let mut next = shipped.clone();
    next.listeners.gateway = gateway;
    next.services.get_mut("orders").unwrap().limits.body_bytes += number;
    if !number.is_multiple_of(2) {
        next.services.get_mut("user").unwrap().listen = None;
    }
    next
}

/// An address that was free a moment ago.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Reloads {
    /// Prints the rows. Returns whether memory and descriptors stopped growing after the first reloads.
    pub(crate) fn print(&self) -> bool {
        let Some(longest) = self.took.last() else { return true };
        let (count, median) = (self.took.len(), self.took[self.took.len() / 2]);
        row("reloads", &format!("{count}, median {}, longest {}", milliseconds(median), milliseconds(*longest)));
        let [warm, after] = self.usage;
        let files = format!("{}, {} (after a tenth of the reloads, at the end)", warm.files, after.files);
        row("open files", &files);
        row("resident MiB", &format!("{}, {}", warm.resident_kib >> 10, after.resident_kib >> 10));
        after.files <= warm.files + MORE_FILES && after.resident_kib <= warm.resident_kib + GROWTH_KIB
    }
}
