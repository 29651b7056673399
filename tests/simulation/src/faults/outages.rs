//! Whole datacenters lose their power.

use super::Kind;
use super::inject::{Begun, Injector};

impl Injector {
    pub(super) async fn outage(&self) {
        let datacenter = self.any_datacenter();
        let outage = self.power_fails(Kind::Outage, datacenter);
        self.wait(500, 14_000).await;
        self.power_returns(outage);
    }

    pub(super) async fn outage_twice(&self) {
        let datacenter = self.any_datacenter();
        for pause_ms in [4_000, 1] {
            let outage = self.power_fails(Kind::OutageTwice, datacenter);
            self.wait(300, 8_000).await;
            self.power_returns(outage);
            self.wait(0, pause_ms).await;
        }
    }

    /// The second falls into the first's catching up: the same datacenter, or one that it catches up from.
    pub(super) async fn outage_in_catch_up(&self) {
        let first = self.any_datacenter();
        let outage = self.power_fails(Kind::OutageInCatchUp, first);
        self.wait(5_000, 12_000).await;
        self.power_returns(outage);
        self.wait(100, 1_500).await;
        let second = self.any_datacenter();
        let outage = self.power_fails(Kind::OutageInCatchUp, second);
        self.wait(500, 6_000).await;
        self.power_returns(outage);
    }

    fn power_fails(&self, kind: Kind, datacenter: &str) -> (Begun, Vec<String>) {
        let nodes: Vec<String> = {
            let (cluster, busy) = (self.cluster(), self.busy());
            let here = |name: &&str| cluster.node(name).datacenter.0 == datacenter && !busy.contains(*name);
            cluster.live().into_iter().filter(here).map(str::to_owned).collect()
        };
        let begun = self.begins(kind, nodes.iter().cloned(), [datacenter.to_owned()], datacenter);
        nodes.iter().for_each(|node| self.take_down(node));
        (begun, nodes)
    }

    fn power_returns(&self, (begun, nodes): (Begun, Vec<String>)) {
        nodes.iter().for_each(|node| self.bring_up(node));
        self.ends(begun);
    }
}
