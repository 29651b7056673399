//! TopicService, call by call.

use std::time::Duration;

use trunkline_ports::Class;
use trunkline_wire::v1::{
    CreateTopicRequest, DeleteTopicRequest, GetTopicRequest, GetTopicResponse, ListTopicsRequest,
    ListTopicsResponse, Topic, TopicOptions, UpdateTopicRequest, topic_service,
};
use trunkline_wire::{Message, Status, method::Unary};

use crate::client::{Client, IDEMPOTENT, Needs};

impl Client {
    /// # Errors
    /// The call's status.
    pub async fn list_topics(&self, request: &ListTopicsRequest) -> Result<ListTopicsResponse, Status> {
        self.simple(topic_service::LIST_TOPICS, request).await
    }

    /// Creating an existing topic with the same options answers it.
    ///
    /// # Errors
    /// The call's status; `ALREADY_EXISTS` where it is there with other options.
    pub async fn create_topic(&self, topic: &str, options: TopicOptions) -> Result<Topic, Status> {
        let request = CreateTopicRequest { topic: topic.to_owned(), options: Some(options) };
        let answer = self.simple(topic_service::CREATE_TOPIC, &request).await?;
        answer.topic.ok_or_else(|| Status::internal("the server has not said which topic"))
    }

    /// Changes the options that `paths` names, or all of them where it names none. The topic as it is then.
    ///
    /// # Errors
    /// The call's status; `NOT_FOUND` where there is no such topic.
    pub async fn update_topic(
        &self,
        topic: &str,
        options: TopicOptions,
        paths: &[&str],
    ) -> Result<Topic, Status> {
        let paths = paths.iter().map(|&path| path.to_owned()).collect();
        let update_mask = Some(prost_types::FieldMask { paths });
        let request = UpdateTopicRequest { topic: topic.to_owned(), options: Some(options), update_mask };
        let answer = self.simple(topic_service::UPDATE_TOPIC, &request).await?;
        answer.topic.ok_or_else(|| Status::internal("the server has not said which topic"))
    }

    /// The topic, and how far this datacenter can read it.
    ///
    /// # Errors
    /// The call's status.
    pub async fn topic(&self, topic: &str) -> Result<GetTopicResponse, Status> {
        self.simple(topic_service::GET_TOPIC, &GetTopicRequest { topic: topic.to_owned() }).await
    }

    /// Deleting what is not there is fine.
    ///
    /// # Errors
    /// The call's status.
    pub async fn delete_topic(&self, topic: &str) -> Result<(), Status> {
        self.simple(topic_service::DELETE_TOPIC, &DeleteTopicRequest { topic: topic.to_owned() })
            .await
            .map(drop)
    }

    /// A short call that answers the same the second time.
    pub(crate) async fn simple<Q: Message, A: Message + Default>(
        &self,
        method: Unary<Q, A>,
        request: &Q,
    ) -> Result<A, Status> {
        let (deadline, wait) = (self.deadline(Duration::ZERO), Duration::ZERO);
        self.call(method, request, Needs { class: Class::Calls, kind: IDEMPOTENT, deadline, wait }).await
    }
}
