//! Currencies.

use serde::{Deserialize, Serialize};

/// The codes of ISO 4217 whose minor unit is a hundredth.
const HUNDREDTHS: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF \
                          CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD \
                          HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK \
                          MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD \
                          RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS \
                          UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG";
/// Those without a minor unit.
const WHOLE: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
/// Those whose minor unit is a thousandth.
const THOUSANDTHS: &str = "BHD IQD JOD KWD LYD OMR TND";

/// The most decimals that amounts may have.
pub const MAX_DECIMALS: u8 = 6;

/// A currency, and how many decimals its amounts have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Currency {
    /// The code of ISO 4217, such as `EUR`.
    #[serde(rename = "currency")]
    pub code: String,
    /// The decimals of the minor unit: 2 for cents.
    pub decimals: u8,
}

impl Currency {
    /// The currency with this code, and its own decimals.
    #[must_use]
    pub fn of(code: &str) -> Option<Self> {
        let has = |list: &str| list.split_ascii_whitespace().any(|known| known == code);
        let decimals = [(HUNDREDTHS, 2), (WHOLE, 0), (THOUSANDTHS, 3)];
        let (_, decimals) = decimals.into_iter().find(|(list, _)| has(list))?;
        Some(Self { code: code.to_owned(), decimals })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_currency_has_the_decimals_of_iso_4217() {
        for (code, decimals) in [("EUR", 2), ("USD", 2), ("JPY", 0), ("KWD", 3)] {
            assert_eq!(Currency::of(code).unwrap().decimals, decimals, "{code}");
        }
        for code in ["", "eur", "EURO", "XXX", "E", "EUR USD", " "] {
            assert_eq!(Currency::of(code), None, "{code}");
        }
    }

    #[test]
    fn no_code_is_listed_twice() {
        let codes: Vec<&str> =
            [HUNDREDTHS, WHOLE, THOUSANDTHS].iter().flat_map(|list| list.split_ascii_whitespace()).collect();
        let mut apart = codes.clone();
        apart.sort_unstable();
        apart.dedup();
        assert_eq!(apart.len(), codes.len());
        assert!(codes.iter().all(|code| code.len() == 3));
    }
}
