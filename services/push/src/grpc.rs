//! The public methods: decode, call, encode. Decisions are elsewhere.

use tokio::time::Instant;
use trunkline_ports::Router;
use trunkline_wire::v1::{push_service, topic_service};

use crate::handle::{Server, bounded};
use crate::{receipt, trace};

pub(crate) fn router(server: &Server) -> Router {
    push(server).merge(topics(server))
}

fn push(server: &Server) -> Router {
    let (a, b, c) = (server.clone(), server.clone(), server.clone());
    Router::new()
        .unary(push_service::PUSH, move |context, request| {
            let server = a.clone();
            async move { trace::under(context.trace, server.push(request, context.deadline)).await }
        })
        .streaming(push_service::PUSH_STREAM, move |context, requests, responses| {
            let server = b.clone();
            async move {
                trace::under(context.trace, server.push_stream(context.deadline, requests, responses)).await
            }
        })
        .unary(push_service::GET_RECEIPT, move |context, request| {
            let server = c.clone();
            async move {
                let _inside = server.admission.enter()?;
                let until: Instant = bounded(context.deadline);
                trace::under(context.trace, receipt::get(&server.host, &request.receipt, until)).await
            }
        })
}

fn topics(server: &Server) -> Router {
    let (a, b, c, d, e) = (server.clone(), server.clone(), server.clone(), server.clone(), server.clone());
    Router::new()
        .unary(topic_service::LIST_TOPICS, move |context, request| {
            let server = a.clone();
            async move { trace::under(context.trace, server.list_topics(request, context.deadline)).await }
        })
        .unary(topic_service::CREATE_TOPIC, move |context, request| {
            let server = b.clone();
            async move { trace::under(context.trace, server.create_topic(request, context.deadline)).await }
        })
        .unary(topic_service::GET_TOPIC, move |context, request| {
            let server = c.clone();
            async move { trace::under(context.trace, server.get_topic(request.topic, context.deadline)).await }
        })
        .unary(topic_service::UPDATE_TOPIC, move |context, request| {
            let server = e.clone();
            async move { trace::under(context.trace, server.update_topic(request, context.deadline)).await }
        })
        .unary(topic_service::DELETE_TOPIC, move |context, request| {
            let server = d.clone();
            async move { trace::under(context.trace, server.delete_topic(request.topic, context.deadline)).await }
        })
}
