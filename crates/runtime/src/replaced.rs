//! A node that was replaced does not go on: another has its place, and nobody listens to it any more.

use trunkline_ports::Host;
use trunkline_types::Standing;

/// Ends the process once the cluster map says that the node is no more. Every node that stands in the map runs it.
pub async fn refuse(host: Host) {
    let mut map = host.map.clone();
    let me = host.identity.node;
    let is_replaced = |standing: Standing<'_>| matches!(standing, Standing::Replaced(_));
    let Ok(map) = map.wait_for(|map| is_replaced(map.standing(me))).await.map(|map| map.clone()) else {
        return;
    };
    if let Standing::Replaced(known) = map.standing(me) {
        let by = known.by;
        host.process.refuse(&format!(
            "node {me} was replaced by {by}, as the cluster map of version {} says. Empty its data directory, or \
             remove it: what it holds is not needed any more",
            map.version
        ));
    }
}
