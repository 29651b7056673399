//! Faults of links.

use std::time::Duration;

use trunkline_testkit::network::Side;

use super::Kind;
use super::inject::Injector;

/// Longer than a coordinator takes for an outage.
const LONG_MS: u64 = 14_000;

/// A link, and what the record says that it touches.
struct Link {
    a: Side,
    b: Side,
    nodes: Vec<String>,
    datacenters: Vec<String>,
    name: String,
}

impl Injector {
    /// Between two nodes, a node and all others, two datacenters, or a datacenter and all others.
    fn any_link(&self) -> Link {
        match self.random.below(4) {
            0 => self.two_nodes().unwrap_or_else(|| self.datacenter_link()),
            1 => self.node_link().unwrap_or_else(|| self.datacenter_link()),
            _ => self.datacenter_link(),
        }
    }

    fn two_nodes(&self) -> Option<Link> {
        let one = self.any_node(|_| true)?;
        let other = self.any_node(|node| node.name != one)?;
        let name = format!("{one} and {other}");
        let nodes = vec![one.clone(), other.clone()];
        Some(Link { a: Side::node(one), b: Side::node(other), nodes, datacenters: Vec::new(), name })
    }

    fn node_link(&self) -> Option<Link> {
        let node = self.any_node(|_| true)?;
        let name = format!("{node} and all others");
        // Whoever it talks to is at the other end.
        let nodes = vec![node.clone()];
        Some(Link { a: Side::node(node), b: Side::Others, nodes, datacenters: Vec::new(), name })
    }

    fn datacenter_link(&self) -> Link {
        if self.plan.topology.datacenters.len() < 2 || self.random.one_in(2) {
            let one = self.any_datacenter();
            let name = format!("{one} and all others");
            let datacenters = vec![one.to_owned()];
            return Link { a: Side::datacenter(one), b: Side::Others, nodes: Vec::new(), datacenters, name };
        }
        self.between(self.two_datacenters())
    }

    fn between(&self, (one, other): (&str, &str)) -> Link {
        let name = format!("{one} and {other}");
        let datacenters = vec![one.to_owned(), other.to_owned()];
        Link { a: Side::datacenter(one), b: Side::datacenter(other), nodes: Vec::new(), datacenters, name }
    }

    /// Does something to a link, and undoes it.
    async fn disturb(&self, kind: Kind, link: Link, most_ms: u64, disturb: impl FnOnce(&Side, &Side)) {
        let begun = self.begins(kind, link.nodes, link.datacenters, &link.name);
        disturb(&link.a, &link.b);
        self.wait(200, most_ms).await;
        self.world.network.heal(&link.a, &link.b);
        self.ends(begun);
    }

    pub(super) async fn cut_nodes(&self) {
        if let Some(link) = self.two_nodes() {
            self.disturb(Kind::CutNodes, link, 10_000, |a, b| self.world.network.cut(a, b)).await;
        }
    }

    pub(super) async fn cut_datacenters(&self) {
        let link = self.datacenter_link();
        self.disturb(Kind::CutDatacenters, link, LONG_MS, |a, b| self.world.network.cut(a, b)).await;
    }

    /// b still hears a third one, and so does a.
    pub(super) async fn bridge(&self) {
        let link = self.between(self.two_datacenters());
        self.disturb(Kind::Bridge, link, LONG_MS, |a, b| self.world.network.cut(a, b)).await;
    }

    pub(super) async fn one_way(&self) {
        let network = &self.world.network;
        let link = self.any_link();
        if self.random.one_in(2) {
            self.disturb(Kind::OneWay, link, 8_000, |a, b| network.cut_one_way(a, b)).await;
        } else {
            self.disturb(Kind::OneWay, link, 8_000, |a, b| network.cut_one_way(b, a)).await;
        }
    }

    pub(super) async fn slow(&self) {
        let network = &self.world.network;
        let extra = Duration::from_millis(20 + self.random.below(1_500));
        let one_way = self.random.one_in(2);
        let link = self.any_link();
        self.disturb(Kind::Slow, link, 8_000, |a, b| {
            network.slow_one_way(a, b, extra);
            if !one_way {
                network.slow_one_way(b, a, extra);
            }
        })
        .await;
    }

    pub(super) async fn lost(&self) {
        let network = &self.world.network;
        let one_in = 10 + self.random.below(300);
        let link = self.any_link();
        self.disturb(Kind::Lost, link, 8_000, |a, b| {
            network.lose_one_way(a, b, one_in);
            network.lose_one_way(b, a, one_in);
        })
        .await;
    }
}
