// Result<T, E>: failure in the signature. Hostile input is ordinary here, so nothing below the programs throws.
#pragma once

#include <string>
#include <system_error>
#include <tl/expected.hpp>
#include <type_traits>
#include <utility>

namespace switchback {

/// A value or an error. `E` is a small error to act on inside a core, std::error_code at the system boundary, and
/// UserError where a person has to read it.
template <class T, class E = std::error_code>
using Result = tl::expected<T, E>;

/// Wraps an error so that it converts to any Result with that error type.
template <class E>
[[nodiscard]] constexpr tl::unexpected<std::decay_t<E>> fail(E&& error) {
  return tl::unexpected<std::decay_t<E>>(std::forward<E>(error));
}

/// The error of the last failed system call.
[[nodiscard]] tl::unexpected<std::error_code> fail_errno() noexcept;

/// One sentence for a person: what is wrong, where, and what to do. Programs print it and exit non-zero.
struct UserError {
  std::string message;
};

[[nodiscard]] inline tl::unexpected<UserError> fail_user(std::string message) {
  return tl::unexpected<UserError>(UserError{std::move(message)});
}

}  // namespace switchback

#define SB_CONCAT_INNER(a, b) a##b
#define SB_CONCAT(a, b) SB_CONCAT_INNER(a, b)
#define SB_TRY_IMPL(holder, declaration, expression)               \
  auto holder = (expression);                                      \
  if (!holder) return ::tl::unexpected(std::move(holder).error()); \
  declaration = *std::move(holder)

/// SB_TRY(auto value, expression): declares `value` from a Result, or returns its error from the enclosing function.
#define SB_TRY(declaration, expression) SB_TRY_IMPL(SB_CONCAT(sb_result_, __LINE__), declaration, expression)

/// SB_CHECK(expression): returns the error of a Result whose value does not matter.
#define SB_CHECK(expression)                                                                                 \
  do {                                                                                                       \
    if (auto sb_checked = (expression); !sb_checked) return ::tl::unexpected(std::move(sb_checked).error()); \
  } while (false)
