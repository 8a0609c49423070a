//! Reloads under load.

use super::{manifest, plain, variant};
use crate::deploys::load::Load;
use testing::{AMPLE, Shop};

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_lose_no_request() {
    let of = |turn: usize| {
        let limits = format!("limits = {{ concurrency = {}, answers = \"{} KiB\" }}", 60 + turn % 3, 64 + turn);
        let mut services = vec![variant(&limits), plain("one", "")];
        if turn % 2 == 1 {
            services.push(plain("two", "listen = \"127.0.0.1:0\""));
        }
        let mut manifest = manifest(&services);
        for service in manifest.services.values_mut() {
            let limits = &mut service.limits;
            (limits.time, limits.cpu, limits.queue_time) = (AMPLE, AMPLE, AMPLE);
            (limits.statement_time, limits.transaction_time) = (AMPLE, AMPLE);
        }
        manifest.deploy.watch = std::time::Duration::from_millis(1);
        manifest
    };
    let mut shop = Shop::with(of(0)).await;
    let load = Load::begin(shop.addresses().gateway, 4, || None);
    for turn in 1..=10 {
        load.run(20).await;
        shop.reload(of(turn)).await.succeeds(200);
    }
    load.run(20).await;
    load.end().await.lost_nothing();
}
