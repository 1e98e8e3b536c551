//! Payloads of a known size: answers of the personal-account service with as many work periods as it takes.

use kopuro::examples::PERSON;
use kopuro_proto::examples::kg::socialfund::v1 as fund;
use serde::Serialize;

/// The size of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Size {
    /// About 1,024 bytes.
    OneKilobyte,
    /// About 10,240 bytes.
    TenKilobytes,
}

impl Size {
    /// How the table names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneKilobyte => "1 KB",
            Self::TenKilobytes => "10 KB",
        }
    }

    /// An answer of this size.
    pub(crate) fn answer(self) -> fund::GetWorkPeriodInfoResponse {
        let periods = match self {
            Self::OneKilobyte => 8,
            Self::TenKilobytes => 88,
        };
        let period = |number: u32| fund::WorkPeriod {
            payer: format!("Enterprise number {number:05} of the Osh region, branch of trade"),
            payer_inn: "01204199810042".into(),
            payer_number: "417-0042".into(),
            begin_date: "1976-09-01".into(),
            end_date: Some("1991-08-31".into()),
        };
        fund::GetWorkPeriodInfoResponse {
            result_code: fund::ResultCode::Ok.into(),
            full_name: PERSON.full_name(),
            issuer: "Social Fund, Osh region".into(),
            work_periods: (0..periods).map(period).collect(),
        }
    }

    /// The question that this answer answers: the size is told by the PIN's last digit.
    pub(crate) fn question(self) -> fund::GetWorkPeriodInfoRequest {
        let pin = match self {
            Self::OneKilobyte => "11205195400011",
            Self::TenKilobytes => "11205195400012",
        };
        fund::GetWorkPeriodInfoRequest { pin: pin.into() }
    }

    /// The size that a PIN asks for.
    pub(crate) fn asked_by(pin: &str) -> Self {
        if pin.ends_with('1') { Self::OneKilobyte } else { Self::TenKilobytes }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn answers_have_the_size_they_say() {
        assert!(
            (900..1_200).contains(&Size::OneKilobyte.answer().encoded_len()),
            "{}",
            Size::OneKilobyte.answer().encoded_len()
        );
        assert!(
            (9_700..10_700).contains(&Size::TenKilobytes.answer().encoded_len()),
            "{}",
            Size::TenKilobytes.answer().encoded_len()
        );
    }
}
