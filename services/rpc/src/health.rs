//! `grpc.health.v1`: whether the node serves, as a whole and by service.
//!
//! **Source:** gRPC health checking protocol. A service that the node does not know is `NOT_FOUND` to `Check`, and
//! `SERVICE_UNKNOWN` to `Watch`, which goes on until it is known.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use kopuro_core::error::{Reason, Refusal};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthService, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::authorize::{Rule, Table};
use crate::status;

/// What the node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Whether it serves at all.
    pub ready: bool,
    /// The services that can be called through it, by full name.
    pub services: HashSet<String>,
}

/// The health service, told by a watch what is true.
#[derive(Clone)]
pub struct Health {
    serving: watch::Receiver<Arc<Serving>>,
}

impl Health {
    /// The service, ready to be routed.
    pub fn server(serving: watch::Receiver<Arc<Serving>>) -> HealthServer<Self> {
        HealthServer::new(Self { serving })
    }

    /// Any caller may ask.
    pub fn table() -> Table {
        Table::new([
            ("/grpc.health.v1.Health/Check", Rule::AnyCaller),
            ("/grpc.health.v1.Health/Watch", Rule::AnyCaller),
        ])
    }
}

#[tonic::async_trait]
impl HealthService for Health {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let HealthCheckRequest { service } = request.into_inner();
        let status = status_of(&self.serving.borrow(), &service);
        match status {
            ServingStatus::ServiceUnknown => {
                Err(status::to_status(&Refusal::new(Reason::ServiceUnknown), None))
            }
            ServingStatus::Unknown | ServingStatus::Serving | ServingStatus::NotServing => {
                Ok(Response::new(response(status)))
            }
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let HealthCheckRequest { service } = request.into_inner();
        let mut last = None;
        let changes = WatchStream::new(self.serving.clone()).filter_map(move |serving| {
            let status = status_of(&serving, &service);
            std::future::ready((last.replace(status) != Some(status)).then(|| Ok(response(status))))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

fn status_of(serving: &Serving, service: &str) -> ServingStatus {
    let Serving { ready, services } = serving;
    match (*ready, service.is_empty() || services.contains(service)) {
        (_, false) => ServingStatus::ServiceUnknown,
        (true, true) => ServingStatus::Serving,
        (false, true) => ServingStatus::NotServing,
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving(ready: bool, services: &[&str]) -> Arc<Serving> {
        Arc::new(Serving { ready, services: services.iter().map(ToString::to_string).collect() })
    }

    fn ask(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest { service: service.to_owned() })
    }

    #[tokio::test]
    async fn a_check_tells_what_is_true() {
        let (tell, told) = watch::channel(serving(false, &["a.B"]));
        let health = Health { serving: told };
        for service in ["", "a.B"] {
            let said = health.check(ask(service)).await.unwrap().into_inner();
            assert_eq!(said.status(), ServingStatus::NotServing);
        }
        tell.send_replace(serving(true, &["a.B"]));
        for service in ["", "a.B"] {
            assert_eq!(
                health.check(ask(service)).await.unwrap().into_inner().status(),
                ServingStatus::Serving
            );
        }
        assert_eq!(health.check(ask("a.C")).await.unwrap_err().code(), tonic::Code::NotFound);
    }

    #[tokio::test]
    async fn a_watch_tells_every_change_once() {
        let (tell, told) = watch::channel(serving(true, &[]));
        let mut watched = Health { serving: told }.watch(ask("a.B")).await.unwrap().into_inner();
        let mut next = async || watched.next().await.unwrap().unwrap().status();
        assert_eq!(next().await, ServingStatus::ServiceUnknown);
        tell.send_replace(serving(false, &["a.B"]));
        assert_eq!(next().await, ServingStatus::NotServing);
        tell.send_replace(serving(false, &["a.B", "a.C"]));
        tell.send_replace(serving(true, &["a.B"]));
        assert_eq!(next().await, ServingStatus::Serving);
    }

    #[test]
    fn every_method_stands_in_the_table() {
        let differences =
            Health::table().differences(tonic_health::pb::FILE_DESCRIPTOR_SET, &["grpc.health.v1.Health"]);
        assert_eq!(differences, [Vec::<String>::new(), Vec::new()]);
    }
}
