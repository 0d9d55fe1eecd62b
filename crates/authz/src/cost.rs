//! What a token may cost, known before it is evaluated.
//!
//! The engine looks at its clock between rounds only: one check that joins eight lists of facts runs for
//! years within a round. Whoever holds a token can append such a check, so what holders append is
//! measured first. Tokens that [`crate::narrow()`] makes hold checks of one fact each; a hundred times more is
//! allowed here.

use biscuit_auth::format::schema::{
    self, Expression, Op, Predicate, Rule, SignedBlock, op::Content, op_binary, op_unary,
};
use biscuit_prost::Message;

use crate::AuthError;

/// Facts at a time, those that rules generate included.
pub(crate) const FACTS_MAX: u64 = 128;
/// Rounds in which rules generate facts.
pub(crate) const ITERATIONS_MAX: u64 = 16;
/// Facts that holders append.
const APPENDED_FACTS_MAX: usize = 64;
/// Rules that holders append.
const RULES_MAX: usize = 8;
/// Facts that one check or rule joins.
const JOIN_MAX: usize = 8;
/// Steps of all expressions.
const STEPS_MAX: usize = 512;
/// Facts that all checks and rules together compare in one round.
const COMPARISONS_MAX: u64 = 20_000;
/// Facts of the authority and of the request; there is one of each name.
const GIVEN_FACTS: u64 = 8;

/// Measures what was appended to a token.
///
/// # Errors
/// [`AuthError::Limit`]; [`AuthError::Malformed`] for what is never taken: blocks signed by third parties,
/// and blocks that say whom they trust.
pub(crate) fn check(appended: &[SignedBlock]) -> Result<(), AuthError> {
    let mut blocks = Vec::with_capacity(appended.len());
    for signed in appended {
        let block = schema::Block::decode(&signed.block[..]).map_err(|_| AuthError::Malformed)?;
        if signed.external_signature.is_some() || !block.scope.is_empty() {
            return Err(AuthError::Malformed);
        }
        blocks.push(block);
    }
    let facts: Vec<&Predicate> =
        blocks.iter().flat_map(|block| &block.facts).map(|fact| &fact.predicate).collect();
    let rules: Vec<&Rule> = blocks.iter().flat_map(|block| &block.rules).collect();
    if facts.len() > APPENDED_FACTS_MAX || rules.len() > RULES_MAX {
        return Err(AuthError::Limit);
    }
    let checks = blocks.iter().flat_map(|block| &block.checks).flat_map(|check| &check.queries);
    let mut meter =
        Meter { facts, heads: rules.iter().map(|rule| rule.head.name).collect(), steps: 0 };
    let mut comparisons: u64 = 0;
    for query in rules.into_iter().chain(checks) {
        comparisons = comparisons.saturating_add(meter.query(query)?);
    }
    if comparisons > COMPARISONS_MAX { Err(AuthError::Limit) } else { Ok(()) }
}

struct Meter<'a> {
    facts: Vec<&'a Predicate>,
    heads: Vec<u64>,
    steps: usize,
}

impl Meter<'_> {
    /// How many facts a query may look at.
    fn query(&mut self, query: &Rule) -> Result<u64, AuthError> {
        if !query.scope.is_empty() {
            return Err(AuthError::Malformed);
        }
        if query.body.len() > JOIN_MAX {
            return Err(AuthError::Limit);
        }
        for expression in &query.expressions {
            self.expression(expression)?;
        }
        let all = GIVEN_FACTS + self.facts.len() as u64;
        let joined = query.body.iter().fold(1, |product: u64, predicate| {
            product.saturating_mul(self.matches(predicate.name))
        });
        // Every step of the join runs over all facts.
        Ok(joined.saturating_mul(all))
    }

    /// How many facts of that name there may be.
    fn matches(&self, name: u64) -> u64 {
        if self.heads.contains(&name) {
            return FACTS_MAX;
        }
        1 + self.facts.iter().filter(|fact| fact.name == name).count() as u64
    }

    fn expression(&mut self, expression: &Expression) -> Result<(), AuthError> {
        self.count(&expression.ops)
    }

    /// Counts steps. What one step can spend as much as it likes in is refused: functions over sets, regular
    /// expressions, calls.
    fn count(&mut self, steps: &[Op]) -> Result<(), AuthError> {
        self.steps += steps.len();
        if self.steps > STEPS_MAX {
            return Err(AuthError::Limit);
        }
        for step in steps {
            let dear = match &step.content {
                Some(Content::Value(_)) => false,
                Some(Content::Unary(unary)) => unary.kind == op_unary::Kind::Ffi as i32,
                Some(Content::Binary(binary)) => {
                    let kinds = [op_binary::Kind::Regex, op_binary::Kind::Ffi];
                    kinds.iter().any(|kind| binary.kind == *kind as i32)
                }
                // The right side of `&&` and `||` is one without parameters.
                Some(Content::Closure(closure)) if closure.params.is_empty() => {
                    self.count(&closure.ops)?;
                    false
                }
                Some(Content::Closure(_)) | None => true,
            };
            if dear {
                return Err(AuthError::Limit);
            }
        }
        Ok(())
    }
}
