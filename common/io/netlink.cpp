#include "common/io/netlink.h"

#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/handlers.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <functional>

namespace switchback::io {
namespace {

struct FreeMessage {
  void operator()(nl_msg* message) const noexcept { nlmsg_free(message); }
};
struct FreeCallbacks {
  void operator()(nl_cb* callbacks) const noexcept { nl_cb_put(callbacks); }
};

std::error_code system_error(int error) noexcept { return {error, std::system_category()}; }

std::uint8_t af(IpFamily family) noexcept { return family == IpFamily::v6 ? AF_INET6 : AF_INET; }

/// A request being built: kernel header, then attributes. An attribute that does not fit is a fault of ours, and the
/// message is dropped.
class Request {
 public:
  template <class Header>
  Request(int type, int flags, const Header& header) : message_{nlmsg_alloc_simple(type, flags)} {
    put([&] { return nlmsg_append(get(), const_cast<Header*>(&header), sizeof(header), NLMSG_ALIGNTO); });
  }

  template <class Integer>
  Request& value(int attribute, Integer number) {
    put([&] { return nla_put(get(), attribute, sizeof(number), &number); });
    return *this;
  }
  Request& address(int attribute, const IpAddress& address) {
    if (address.empty()) return *this;
    put([&] { return nla_put(get(), attribute, static_cast<int>(address.size()), address.bytes().data()); });
    return *this;
  }
  Request& text(int attribute, const std::string& text) {
    put([&] { return nla_put_string(get(), attribute, text.c_str()); });
    return *this;
  }

  [[nodiscard]] nl_msg* get() const noexcept { return message_.get(); }
  [[nodiscard]] bool ok() const noexcept { return ok_; }

 private:
  template <class Put>
  void put(Put&& action) {
    ok_ = ok_ && message_ && action() == 0;
  }
  std::unique_ptr<nl_msg, FreeMessage> message_;
  bool ok_ = true;
};

using OnMessage = std::function<void(nlmsghdr*)>;

/// State of one request while its answers are read.
struct Transaction {
  const OnMessage& on_message;
  int error = 0;
  bool done = false;
};

/// Sends, and reads answers until the acknowledgement or the end of a dump. The kernel's errno is kept as it is: libnl
/// would translate it to codes of its own and lose the difference between some.
Result<void> transact(nl_sock* socket, Request& request, const OnMessage& on_message = {}) {
  if (!request.ok()) return fail(system_error(ENOMEM));
  nlmsg_hdr(request.get())->nlmsg_flags |= NLM_F_REQUEST;
  if ((nlmsg_hdr(request.get())->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP) {
    nlmsg_hdr(request.get())->nlmsg_flags |= NLM_F_ACK;
  }
  if (nl_send_auto(socket, request.get()) < 0) return fail(system_error(EIO));

  Transaction transaction{on_message};
  const std::unique_ptr<nl_cb, FreeCallbacks> callbacks{nl_cb_alloc(NL_CB_DEFAULT)};
  if (!callbacks) return fail(system_error(ENOMEM));
  nl_cb_set(
      callbacks.get(), NL_CB_VALID, NL_CB_CUSTOM,
      [](nl_msg* message, void* state) {
        const auto& on = static_cast<Transaction*>(state)->on_message;
        if (on) on(nlmsg_hdr(message));
        return static_cast<int>(NL_OK);
      },
      &transaction);
  const auto end = [](nl_msg*, void* state) {
    static_cast<Transaction*>(state)->done = true;
    return static_cast<int>(NL_STOP);
  };
  nl_cb_set(callbacks.get(), NL_CB_ACK, NL_CB_CUSTOM, end, &transaction);
  nl_cb_set(callbacks.get(), NL_CB_FINISH, NL_CB_CUSTOM, end, &transaction);
  nl_cb_err(
      callbacks.get(), NL_CB_CUSTOM,
      [](sockaddr_nl*, nlmsgerr* answer, void* state) {
        auto* self = static_cast<Transaction*>(state);
        self->error = -answer->error;
        self->done = true;
        return static_cast<int>(NL_STOP);
      },
      &transaction);
  while (!transaction.done) {
    if (nl_recvmsgs(socket, callbacks.get()) < 0 && !transaction.done) return fail(system_error(EIO));
  }
  if (transaction.error != 0) return fail(system_error(transaction.error));
  return {};
}

Result<void> except(Result<void> result, std::initializer_list<int> harmless) {
  if (result) return result;
  for (const int error : harmless) {
    if (result.error() == system_error(error)) return {};
  }
  return result;
}

template <std::size_t N>
using Attributes = std::array<nlattr*, N>;

IpAddress address_of(const nlattr* attribute) noexcept {
  if (attribute == nullptr) return {};
  return IpAddress::from_bytes(
      {static_cast<const std::uint8_t*>(nla_data(attribute)), static_cast<std::size_t>(nla_len(attribute))});
}

std::uint32_t number_of(nlattr* attribute) noexcept { return attribute == nullptr ? 0 : nla_get_u32(attribute); }

/// A socket that talks rtnetlink, or nothing with errno set.
nl_sock* connect_route(bool monitor) {
  nl_sock* socket = nl_socket_alloc();
  if (socket == nullptr) {
    errno = ENOMEM;
    return nullptr;
  }
  if (monitor) nl_socket_disable_seq_check(socket);
  if (nl_connect(socket, NETLINK_ROUTE) < 0) {
    const int error = errno;
    nl_socket_free(socket);
    errno = error;
    return nullptr;
  }
  return socket;
}

Result<LinkInfo> get_link(nl_sock* socket, unsigned ifindex, const std::string& name) {
  ifinfomsg header{};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = static_cast<int>(ifindex);
  Request request{RTM_GETLINK, 0, header};
  if (!name.empty()) request.text(IFLA_IFNAME, name);
  LinkInfo info;
  SB_CHECK(transact(socket, request, [&](nlmsghdr* answer) {
    Attributes<IFLA_MAX + 1> attributes{};
    if (answer->nlmsg_type != RTM_NEWLINK ||
        nlmsg_parse(answer, sizeof(ifinfomsg), attributes.data(), IFLA_MAX, nullptr) < 0) {
      return;
    }
    const auto* found = static_cast<const ifinfomsg*>(nlmsg_data(answer));
    info.ifindex = static_cast<unsigned>(found->ifi_index);
    info.up = (found->ifi_flags & IFF_UP) != 0;
    info.mtu = number_of(attributes[IFLA_MTU]);
    if (attributes[IFLA_IFNAME] != nullptr) info.name = nla_get_string(attributes[IFLA_IFNAME]);
  }));
  if (info.ifindex == 0) return fail(system_error(ENODEV));
  return info;
}

Request address_request(int type, int flags, unsigned ifindex, const IpPrefix& prefix) {
  ifaddrmsg header{};
  header.ifa_family = af(prefix.address.family());
  header.ifa_prefixlen = prefix.length;
  header.ifa_index = ifindex;
  header.ifa_scope = RT_SCOPE_UNIVERSE;
  if (prefix.address.is_v6()) header.ifa_flags = IFA_F_NODAD;
  Request request{type, flags, header};
  request.address(IFA_LOCAL, prefix.address).address(IFA_ADDRESS, prefix.address);
  return request;
}

Request route_request(int type, int flags, const Route& route) {
  rtmsg header{};
  header.rtm_family = af(route.destination.address.family());
  header.rtm_dst_len = route.destination.length;
  header.rtm_table = route.table < 256 ? static_cast<std::uint8_t>(route.table) : std::uint8_t{RT_TABLE_UNSPEC};
  header.rtm_protocol = RTPROT_STATIC;
  switch (route.kind) {
    case RouteKind::unicast: header.rtm_type = RTN_UNICAST; break;
    case RouteKind::unreachable: header.rtm_type = RTN_UNREACHABLE; break;
    case RouteKind::blackhole: header.rtm_type = RTN_BLACKHOLE; break;
  }
  const bool on_link = route.kind == RouteKind::unicast && route.gateway.empty();
  header.rtm_scope = on_link && route.destination.address.is_v4() ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  if (type == RTM_DELROUTE) header.rtm_scope = RT_SCOPE_NOWHERE;  // whatever the scope
  Request request{type, flags, header};
  if (route.destination.length != 0) request.address(RTA_DST, route.destination.first());
  request.value(RTA_TABLE, route.table);
  if (route.kind == RouteKind::unicast && route.ifindex != 0) request.value(RTA_OIF, route.ifindex);
  request.address(RTA_GATEWAY, route.gateway);
  if (type == RTM_NEWROUTE) request.address(RTA_PREFSRC, route.preferred_source);
  if (route.metric != 0) request.value(RTA_PRIORITY, route.metric);
  return request;
}

Request rule_request(int type, int flags, const Rule& rule) {
  fib_rule_hdr header{};
  header.family = af(rule.family);
  header.action = FR_ACT_TO_TBL;
  header.table = rule.table < 256 ? static_cast<std::uint8_t>(rule.table) : std::uint8_t{RT_TABLE_UNSPEC};
  header.flags = rule.invert ? FIB_RULE_INVERT : 0;
  header.dst_len = rule.to ? rule.to->length : 0;
  Request request{type, flags, header};
  request.value(FRA_TABLE, rule.table).value(FRA_PRIORITY, rule.priority);
  if (rule.mark != 0) request.value(FRA_FWMARK, rule.mark);
  if (rule.suppress_prefix_length) {
    request.value(FRA_SUPPRESS_PREFIXLEN, static_cast<std::uint32_t>(*rule.suppress_prefix_length));
  }
  if (rule.to) request.address(FRA_DST, rule.to->first());
  if (rule.ip_protocol != 0) request.value(FRA_IP_PROTO, rule.ip_protocol);
  if (rule.destination_port != 0) {
    request.value(FRA_DPORT_RANGE, fib_rule_port_range{rule.destination_port, rule.destination_port});
  }
  return request;
}

}  // namespace

void Netlink::Close::operator()(nl_sock* socket) const noexcept { nl_socket_free(socket); }
void NetlinkMonitor::Close::operator()(nl_sock* socket) const noexcept { nl_socket_free(socket); }

Result<Netlink> Netlink::open() {
  auto* socket = connect_route(false);
  if (socket == nullptr) return fail_errno();
  return Netlink{socket};
}

Result<LinkInfo> Netlink::link(const std::string& name) { return get_link(socket_.get(), 0, name); }
Result<LinkInfo> Netlink::link(unsigned ifindex) { return get_link(socket_.get(), ifindex, ""); }

Result<void> Netlink::set_link_up(unsigned ifindex, bool up) {
  ifinfomsg header{};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = static_cast<int>(ifindex);
  header.ifi_flags = up ? IFF_UP : 0;
  header.ifi_change = IFF_UP;
  Request request{RTM_NEWLINK, 0, header};
  return transact(socket_.get(), request);
}

Result<void> Netlink::set_mtu(unsigned ifindex, unsigned mtu) {
  ifinfomsg header{};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = static_cast<int>(ifindex);
  Request request{RTM_NEWLINK, 0, header};
  request.value(IFLA_MTU, mtu);
  return transact(socket_.get(), request);
}

Result<void> Netlink::add_address(unsigned ifindex, const IpPrefix& address) {
  auto request = address_request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, ifindex, address);
  return except(transact(socket_.get(), request), {EEXIST});
}

Result<void> Netlink::delete_address(unsigned ifindex, const IpPrefix& address) {
  auto request = address_request(RTM_DELADDR, 0, ifindex, address);
  return except(transact(socket_.get(), request), {EADDRNOTAVAIL, ENODEV});
}

Result<std::vector<IpPrefix>> Netlink::addresses(unsigned ifindex) {
  ifaddrmsg header{};
  header.ifa_family = AF_UNSPEC;
  Request request{RTM_GETADDR, NLM_F_DUMP, header};
  std::vector<IpPrefix> found;
  SB_CHECK(transact(socket_.get(), request, [&](nlmsghdr* answer) {
    Attributes<IFA_MAX + 1> attributes{};
    if (answer->nlmsg_type != RTM_NEWADDR ||
        nlmsg_parse(answer, sizeof(ifaddrmsg), attributes.data(), IFA_MAX, nullptr) < 0) {
      return;
    }
    const auto* info = static_cast<const ifaddrmsg*>(nlmsg_data(answer));
    if (ifindex != 0 && info->ifa_index != ifindex) return;
    const auto address = address_of(attributes[attributes[IFA_LOCAL] != nullptr ? IFA_LOCAL : IFA_ADDRESS]);
    if (!address.empty()) found.push_back({address, info->ifa_prefixlen});
  }));
  return found;
}

Result<void> Netlink::add_route(const Route& route) {
  auto request = route_request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route);
  return transact(socket_.get(), request);
}

Result<void> Netlink::delete_route(const Route& route) {
  auto request = route_request(RTM_DELROUTE, 0, route);
  // ENOENT: no such table (IPv4); ESRCH: no such route; ENODEV: its interface is gone, and it with it.
  return except(transact(socket_.get(), request), {ESRCH, ENOENT, ENODEV});
}

Result<void> Netlink::add_rule(const Rule& rule) {
  auto request = rule_request(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule);
  return except(transact(socket_.get(), request), {EEXIST});
}

Result<void> Netlink::delete_rule(const Rule& rule) {
  auto request = rule_request(RTM_DELRULE, 0, rule);
  return except(transact(socket_.get(), request), {ENOENT});
}

Result<std::vector<Rule>> Netlink::rules(IpFamily family) {
  fib_rule_hdr header{};
  header.family = af(family);
  Request request{RTM_GETRULE, NLM_F_DUMP, header};
  std::vector<Rule> found;
  SB_CHECK(transact(socket_.get(), request, [&](nlmsghdr* answer) {
    Attributes<FRA_MAX + 1> attributes{};
    if (answer->nlmsg_type != RTM_NEWRULE ||
        nlmsg_parse(answer, sizeof(fib_rule_hdr), attributes.data(), FRA_MAX, nullptr) < 0) {
      return;
    }
    Rule rule;
    rule.family = family;
    rule.priority = number_of(attributes[FRA_PRIORITY]);
    rule.table = number_of(attributes[FRA_TABLE]);
    rule.mark = number_of(attributes[FRA_FWMARK]);
    found.push_back(rule);
  }));
  return found;
}

Result<RouteLookup> Netlink::lookup(const IpAddress& destination, std::uint32_t mark) {
  rtmsg header{};
  header.rtm_family = af(destination.family());
  header.rtm_dst_len = static_cast<std::uint8_t>(destination.bits());
  Request request{RTM_GETROUTE, 0, header};
  request.address(RTA_DST, destination);
  if (mark != 0) request.value(RTA_MARK, mark);
  RouteLookup found;
  int type = RTN_UNSPEC;
  SB_CHECK(transact(socket_.get(), request, [&](nlmsghdr* answer) {
    Attributes<RTA_MAX + 1> attributes{};
    if (answer->nlmsg_type != RTM_NEWROUTE ||
        nlmsg_parse(answer, sizeof(rtmsg), attributes.data(), RTA_MAX, nullptr) < 0) {
      return;
    }
    type = static_cast<const rtmsg*>(nlmsg_data(answer))->rtm_type;
    found.ifindex = number_of(attributes[RTA_OIF]);
    found.gateway = address_of(attributes[RTA_GATEWAY]);
    found.source = address_of(attributes[RTA_PREFSRC]);
    if (attributes[RTA_METRICS] != nullptr) {
      Attributes<RTAX_MAX + 1> metrics{};
      if (nla_parse_nested(metrics.data(), RTAX_MAX, attributes[RTA_METRICS], nullptr) >= 0) {
        found.mtu = number_of(metrics[RTAX_MTU]);
      }
    }
  }));
  // IPv6 answers a lookup that fails with a route of type unreachable rather than with an error.
  if (found.ifindex == 0 || (type != RTN_UNICAST && type != RTN_LOCAL)) return fail(system_error(ENETUNREACH));
  if (found.mtu == 0) {
    SB_TRY(const auto out, link(found.ifindex));
    found.mtu = out.mtu;
  }
  return found;
}

Result<NetlinkMonitor> NetlinkMonitor::open() {
  auto* socket = connect_route(true);
  if (socket == nullptr) return fail_errno();
  NetlinkMonitor monitor{socket};
  for (const int group :
       {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE}) {
    if (nl_socket_add_membership(socket, group) < 0) return fail_errno();
  }
  if (nl_socket_set_nonblocking(socket) < 0) return fail_errno();
  return monitor;
}

int NetlinkMonitor::fd() const noexcept { return nl_socket_get_fd(socket_.get()); }

bool NetlinkMonitor::drain(unsigned ignored_ifindex) noexcept {
  alignas(nlmsghdr) std::array<std::uint8_t, 16384> buffer{};
  bool matters = false;
  for (;;) {
    const auto got = ::recv(fd(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == ENOBUFS) {  // the kernel dropped some: assume the worst
      matters = true;
      continue;
    }
    if (got <= 0) return matters;
    auto left = static_cast<int>(got);
    for (auto* message = static_cast<nlmsghdr*>(static_cast<void*>(buffer.data())); nlmsg_ok(message, left) != 0;
         message = nlmsg_next(message, &left)) {
      switch (message->nlmsg_type) {
        case RTM_NEWLINK:
        case RTM_DELLINK: {
          if (nlmsg_valid_hdr(message, sizeof(ifinfomsg)) == 0) break;
          const auto* info = static_cast<const ifinfomsg*>(nlmsg_data(message));
          matters = matters || static_cast<unsigned>(info->ifi_index) != ignored_ifindex;
          break;
        }
        case RTM_NEWADDR:
        case RTM_DELADDR: {
          if (nlmsg_valid_hdr(message, sizeof(ifaddrmsg)) == 0) break;
          matters = matters || static_cast<const ifaddrmsg*>(nlmsg_data(message))->ifa_index != ignored_ifindex;
          break;
        }
        case RTM_NEWROUTE:
        case RTM_DELROUTE: {
          Attributes<RTA_MAX + 1> attributes{};
          if (nlmsg_parse(message, sizeof(rtmsg), attributes.data(), RTA_MAX, nullptr) < 0) break;
          const auto* info = static_cast<const rtmsg*>(nlmsg_data(message));
          const bool cached = (info->rtm_flags & RTM_F_CLONED) != 0;
          matters = matters || (!cached && number_of(attributes[RTA_OIF]) != ignored_ifindex);
          break;
        }
        default: break;
      }
    }
  }
}

}  // namespace switchback::io
