//! What carries the calls: nothing but TLS, or the bus on one of its brokers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use kopuro::client::{Client, Connection};
use kopuro::config::Config;
use kopuro::development::{Development, Options, default_instance, passing_instance};
use kopuro::examples::server::{self, Systems};
use kopuro::examples::{PERSON, Violations};
use kopuro::process::{OpenBroker, Process, open_broker};
use kopuro_core::time::Clock as _;
use kopuro_proto::examples::kg::socialfund::v1 as fund;
use kopuro_proto::examples::kg::socialfund::v1::personal_account_service_server::{
    PersonalAccountService, PersonalAccountServiceServer,
};
use kopuro_proto::examples::kg::traffic::v1 as traffic;
use kopuro_telemetry::clock::SystemClock;
use prost::Message as _;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::sizes::Size;
use crate::stages::InSitu;

/// How the calls travel.
#[derive(Clone, Debug)]
pub(crate) enum Carrier {
    /// From the consumer's system straight to the provider's, over mutual TLS.
    Direct,
    /// Through two gateways and the embedded broker.
    Embedded,
    /// Through two gateways and a Kafka broker.
    Kafka(String),
}

impl Carrier {
    /// How the table names it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Embedded => "embedded",
            Self::Kafka(_) => "kafka",
        }
    }
}

/// The one who calls.
pub(crate) struct Caller {
    /// Its connections.
    pub(crate) client: Client,
}

/// A carrier at work.
pub(crate) struct World {
    caller: Arc<Caller>,
    systems: Systems,
    bus: Option<(Process, OpenBroker)>,
    folder: tempfile::TempDir,
}

impl World {
    /// Starts a carrier with the providers behind it.
    pub(crate) async fn start(carrier: &Carrier) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let instance = match carrier {
            Carrier::Direct | Carrier::Embedded => default_instance(),
            // A broker may still hold what an earlier run left there.
            Carrier::Kafka(_) => passing_instance(),
        };
        let development = Development::create(&folder.path().join("instance"), &instance, SystemClock.now())?;
        let served = [("pensions", accounts()), ("violations", server::violations(Violations::default()))];
        let systems = Systems::start_with(&development, served).await?;
        let endpoints = systems.endpoints.clone();
        let (bus, endpoint, files) = match carrier {
            Carrier::Direct => {
                let endpoint = endpoints["pensions"].clone();
                (None, endpoint, development.gateway("gw-social-fund"))
            }
            Carrier::Embedded | Carrier::Kafka(_) => {
                let kafka = match carrier {
                    Carrier::Kafka(server) => Some(server.clone()),
                    Carrier::Direct | Carrier::Embedded => None,
                };
                development.configure(&Options { kafka, endpoints, operations: false })?;
                let config = Config::load(&development.config())?;
                let broker = open_broker(&config.broker).await?;
                let process = Process::start(&config, broker.port()).await?;
                process.ready().await;
                let address = process.gateway("gw-portal").context("the portal's gateway runs")?;
                (Some((process, broker)), format!("https://{address}"), development.system("portal"))
            }
        };
        let authority = development.tls_authority();
        let connection = Connection { endpoint, certificate: files.chain, key: files.key, authority };
        let caller = Arc::new(Caller { client: Client::new(&connection)? });
        Ok(Self { caller, systems, bus, folder })
    }

    /// The one who calls.
    pub(crate) fn caller(&self) -> Arc<Caller> {
        Arc::clone(&self.caller)
    }

    /// What the gateways have measured of each stage.
    pub(crate) fn stages(&self) -> Option<Vec<InSitu>> {
        self.bus.as_ref().map(|(process, _)| crate::stages::in_situ(&process.metrics().encode()))
    }

    /// Ends it.
    pub(crate) async fn stop(self) {
        let Self { caller, systems, bus, folder } = self;
        drop(caller);
        if let Some((process, broker)) = bus {
            // A bench has no call that is worth waiting for long.
            let _ = tokio::time::timeout(Duration::from_secs(10), process.drain()).await;
            broker.close().await;
        }
        drop((systems, folder));
    }
}

/// A call without an effect, answered in the size asked for.
pub(crate) fn work_periods(size: Size) -> (&'static str, Bytes) {
    let path = "/kg.socialfund.v1.PersonalAccountService/GetWorkPeriodInfo";
    (path, size.question().encode_to_vec().into())
}

/// A call with an effect.
pub(crate) fn payment() -> (&'static str, Bytes) {
    let request = traffic::RegisterPaymentRequest {
        payment_number: "204118204417".into(),
        payer_pin: PERSON.pin.into(),
        amount_tyiyn: 100_000,
        paid_time: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 }),
        bank_reference: "BENCH-118204".into(),
    };
    ("/kg.traffic.v1.ViolationService/RegisterPayment", request.encode_to_vec().into())
}

/// Answers in the size that the PIN asks for.
struct Accounts;

#[tonic::async_trait]
impl PersonalAccountService for Accounts {
    async fn get_work_period_info(
        &self,
        request: Request<fund::GetWorkPeriodInfoRequest>,
    ) -> Result<Response<fund::GetWorkPeriodInfoResponse>, Status> {
        Ok(Response::new(Size::asked_by(&request.get_ref().pin).answer()))
    }

    async fn get_work_period_info_with_sum(
        &self,
        _request: Request<fund::GetWorkPeriodInfoWithSumRequest>,
    ) -> Result<Response<fund::GetWorkPeriodInfoWithSumResponse>, Status> {
        Err(Status::unimplemented("not measured"))
    }

    async fn get_account_data(
        &self,
        _request: Request<fund::GetAccountDataRequest>,
    ) -> Result<Response<fund::GetAccountDataResponse>, Status> {
        Err(Status::unimplemented("not measured"))
    }
}

fn accounts() -> axum::Router {
    Routes::new(PersonalAccountServiceServer::new(Accounts)).into_axum_router()
}
