//! The civil registry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kopuro_proto::examples::kg::civilregistry::v1 as wire;
use kopuro_proto::examples::kg::civilregistry::v1::civil_registry_service_server::CivilRegistryService;
use tonic::{Request, Response, Status};

use super::people::{self, Person};

/// Answers for one person, and numbers the addresses it registers.
#[derive(Clone, Debug, Default)]
pub struct CivilRegistry {
    entries: Arc<AtomicU64>,
}

#[tonic::async_trait]
impl CivilRegistryService for CivilRegistry {
    async fn get_person(
        &self,
        request: Request<wire::GetPersonRequest>,
    ) -> Result<Response<wire::GetPersonResponse>, Status> {
        let wire::GetPersonRequest { pin, with_documents, with_address } = request.into_inner();
        let person = people::find(&pin).ok_or_else(|| Status::not_found("no person has this number"))?;
        let documents = if with_documents { vec![passport()] } else { vec![] };
        let person = wire::Person { documents, address: with_address.then(address), ..entry(person) };
        Ok(Response::new(wire::GetPersonResponse { person: Some(person) }))
    }

    async fn register_address(
        &self,
        _request: Request<wire::RegisterAddressRequest>,
    ) -> Result<Response<wire::RegisterAddressResponse>, Status> {
        let number = self.entries.fetch_add(1, Ordering::AcqRel) + 1;
        Ok(Response::new(wire::RegisterAddressResponse { entry_number: format!("A-{number:06}") }))
    }
}

fn entry(person: &Person) -> wire::Person {
    wire::Person {
        pin: person.pin.into(),
        last_name: person.last_name.into(),
        first_name: person.first_name.into(),
        patronymic: Some(person.patronymic.into()),
        sex: wire::Sex::Female.into(),
        birth_date: person.birth_date.into(),
        birth_place: "Osh".into(),
        family_status: wire::FamilyStatus::Married.into(),
        ..wire::Person::default()
    }
}

fn passport() -> wire::Document {
    wire::Document {
        kind: wire::DocumentKind::Passport.into(),
        number: "ID0417231".into(),
        issuer: "State Registration Service, Osh".into(),
        issue_date: "2019-03-01".into(),
        expire_date: Some("2029-03-01".into()),
    }
}

fn address() -> wire::Address {
    wire::Address {
        settlement_code: "41721000000000".into(),
        street: "Lenin street".into(),
        house: "114".into(),
        flat: Some("7".into()),
    }
}
