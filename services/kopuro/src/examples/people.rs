//! The invented persons.

/// A person of the example registers.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// The 14-digit PIN.
    pub pin: &'static str,
    /// Last name.
    pub last_name: &'static str,
    /// First name.
    pub first_name: &'static str,
    /// Patronymic.
    pub patronymic: &'static str,
    /// Day of birth.
    pub birth_date: &'static str,
    /// The plate of the person's car.
    pub plate: &'static str,
}

impl Person {
    /// Last name, first name and patronymic.
    pub fn full_name(&self) -> String {
        format!("{} {} {}", self.last_name, self.first_name, self.patronymic)
    }
}

/// A pensioner who drives.
pub const PERSON: Person = Person {
    pin: "11205195400017",
    last_name: "Sadykova",
    first_name: "Ainura",
    patronymic: "Bekbolotovna",
    birth_date: "1954-05-12",
    plate: "01KG417AIN",
};

/// A well-formed PIN that no register knows.
pub const UNKNOWN_PIN: &str = "20101199099999";

/// The person with this PIN.
pub(super) fn find(pin: &str) -> Option<&'static Person> {
    (pin == PERSON.pin).then_some(&PERSON)
}
