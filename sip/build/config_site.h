/* What our pjproject carries. Every figure is a limit of one worker process; the stock ones (4 calls, 64 sockets,
 * 32 players) suit a softphone.
 */

/* Calls, and what they need at the same time: each two sockets (RTP, RTCP), one conference port for itself and one
 * for its player or recorder.
 */
#define PJSUA_MAX_CALLS             1024
#define PJSUA_MAX_PLAYERS           1024
#define PJSUA_MAX_RECORDERS         1024
#define PJSUA_MAX_CONF_PORTS        4096
#define PJ_IOQUEUE_MAX_HANDLES      8192

/* Hash tables, so 2^n - 1. An ended transaction stays for 32 s (64*T1), and a call has at least two: this one is for
 * calls begun in half a minute, not for calls up at once.
 */
#define PJSIP_MAX_TSX_COUNT         16383
#define PJSIP_MAX_DIALOG_COUNT      8191

/* One account for each trunk. */
#define PJSUA_MAX_ACC               64

/* A burst of answers waits in the socket while Python runs a callback. The kernel cuts this to net.core.rmem_max. */
#define PJSIP_UDP_SO_RCVBUF_SIZE    (4 * 1024 * 1024)
#define PJSIP_UDP_SO_SNDBUF_SIZE    (4 * 1024 * 1024)

/* A Request-URI with a carrier's parameters passes the stock 256 characters. */
#define PJSIP_MAX_URL_SIZE          512

/* Which of the two a trunk uses is its account's ipv6Use, always set: left open, an IPv4 trunk fell from 1,000 calls
 * a second to 2.6.
 */
#define PJ_HAS_IPV6                 1
