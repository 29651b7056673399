//! What only a person can know, told to those who must: that the clocks are right, that a datacenter is lost.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use trunkline_placement::voters;
use trunkline_ports::{CallOptions, Class, Peer};
use trunkline_types::{Boot, GroupId, NodeId, Role};
use trunkline_wire::internal::order_service::{CONFIRM_ORDER_TIME, DECLARE_DATACENTER};
use trunkline_wire::internal::{
    AdminConfirmOrderTimeResponse, ConfirmOrderTimeRequest, DeclareDatacenterRequest,
    DeclareDatacenterResponse, Envelope, OrderDeclareDatacenterRequest,
};
use trunkline_wire::{Code, Status};

use super::Subject;

/// How long a node may take.
const ANSWER: Duration = Duration::from_secs(3);

fn envelope(subject: &Subject) -> Envelope {
    let map = subject.map.borrow();
    // An operator is no node.
    Envelope::new(map.cluster, map.version, NodeId(0), Boot::default())
}

/// Every voter hears it: whoever leads a group whose order time is held goes on.
pub(super) async fn confirm_order_time(subject: &Subject) -> AdminConfirmOrderTimeResponse {
    let (map, request) =
        (subject.map.borrow().clone(), ConfirmOrderTimeRequest { envelope: Some(envelope(subject)) });
    let asking = map.nodes_of(Role::MessageId).map(|node| {
        let (request, peer) = (&request, Peer::new(node.address.as_str(), Class::Calls));
        async move {
            let options = CallOptions::until(Instant::now() + ANSWER);
            (node, subject.network.call(&peer, CONFIRM_ORDER_TIME, request, options).await)
        }
    });
    let mut answer = AdminConfirmOrderTimeResponse::default();
    for (node, said) in join_all(asking).await {
        match said {
            Ok(said) => answer.groups += said.groups,
            Err(_) => answer.silent.push(node.name.clone()),
        }
    }
    answer
}

/// One of those who hold the map takes it.
pub(super) async fn declare_datacenter(
    subject: &Subject,
    request: DeclareDatacenterRequest,
) -> Result<DeclareDatacenterResponse, Status> {
    let map = subject.map.borrow().clone();
    let DeclareDatacenterRequest { datacenter, lost } = request;
    let request = OrderDeclareDatacenterRequest { envelope: Some(envelope(subject)), datacenter, lost };
    let mut last = Status::unavailable("nobody holds the cluster map");
    for voter in voters(&map, GroupId::MAP) {
        let peer = Peer::new(voter.address.as_str(), Class::Calls);
        let options = CallOptions::until(Instant::now() + ANSWER);
        match subject.network.call(&peer, DECLARE_DATACENTER, &request, options).await {
            Ok(_) => return Ok(DeclareDatacenterResponse {}),
            Err(error) if error.code() == Code::InvalidArgument => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}
