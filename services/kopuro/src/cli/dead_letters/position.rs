//! Where a letter stands, as a person names it.

use std::str::FromStr;

use kopuro_broker::Position;

/// `PARTITION/OFFSET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At(pub(super) Position);

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u64>().ok().filter(|number| number.to_string() == text);
        let read = text.split_once('/').and_then(|(partition, offset)| {
            let partition = u32::try_from(number(partition)?).ok()?;
            Some(Self(Position { partition, offset: number(offset)? }))
        });
        read.ok_or_else(|| "a letter is named PARTITION/OFFSET, as in 0/17".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_has_one_spelling() {
        for (text, partition, offset) in [("0/17", 0, 17), ("4294967295/0", u32::MAX, 0)] {
            let At(position) = text.parse().unwrap();
            assert_eq!((position, position.to_string().as_str()), (Position { partition, offset }, text));
        }
        for text in ["", "/", "0", "0/", "/0", "00/1", "0/+1", "0/1/2", "-1/0", "4294967296/0", "0/1 ", "a/b"]
        {
            assert!(text.parse::<At>().is_err(), "{text}");
        }
    }
}
