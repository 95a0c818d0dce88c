/*
 * A hybrid lock whose server restarts, or whose standby is promoted, for Spin (https://spinroot.com). Rows survive both;
 * liveness locks do not, and the holder hears nothing of it. Commits are confirmed by the standby, so that a primary which
 * its standby has left commits nothing. Checked: exclusion, whenever a client begins or goes on to believe that it holds.
 *
 * BREAK_TRUST    a free liveness lock frees the row on every server
 * BREAK_READS    an old primary answers heartbeats, since they commit nothing
 * BREAK_SHORTEN  the first session on a server ends leases of another at once
 */
#define END      7         /* how many ticks there are */
#define LEASE    5         /* ticks that a lease lasts */
#define GIVE_UP  2         /* ticks of silence after which either side ends a session */

#ifdef BREAK_SHORTEN
#define LAPSE    0
#else
#define LAPSE    GIVE_UP
#endif

byte now;                  /* the time, for all alike */
byte server = 1;           /* which run of which server takes writes */
bool answers = true;       /* whether the first one still answers */

/* The row: whose it is (0 free), until when, and the server that granted it. Whether its liveness lock is held here. */
byte owner, until, granter;
bool locked;
byte seen;                 /* when the server last heard the holder's session */

/* What the holder believes. */
bool held;
byte deadline, heard;

/* What the next client has. */
bool taken;

/* When a heartbeat was sent, and when one was that is answered. */
chan beat = [1] of { byte };
chan echo = [1] of { byte };

#define BELIEVES (held && now < deadline && now < heard + GIVE_UP)
#define FREE_LOCK (!locked)
#ifdef BREAK_TRUST
#define DEAD (FREE_LOCK)
#else
#define DEAD (FREE_LOCK && granter == server)
#endif
#define RENEWABLE (owner == 1 && now < until && locked)

active proctype Clock() {
	do
	:: now < END -> now++
	od
}

/* The server that takes writes ends silent sessions; the first one may be replaced, and go on or not. */
active proctype Server() {
	byte asked;
	do
	:: atomic { server == 1 && now >= seen + GIVE_UP -> locked = false }
	:: atomic { server == 1 && held ->
		server = 2; locked = false;
		if :: answers = true :: answers = false fi }
	:: atomic { server == 1 && nempty(beat) && nempty(echo) -> beat?_; seen = now }     /* the answer is lost */
	:: atomic { server == 1 && nempty(beat) && empty(echo) -> beat?asked; seen = now; echo!asked; asked = 0 }
#ifdef BREAK_READS
	:: atomic { server == 2 && answers && nempty(beat) && empty(echo) -> beat?asked; echo!asked; asked = 0 }
#endif
	od
}

active proctype Holder() {
	byte asked;
	atomic { owner = 1; granter = 1; locked = true; until = now + LEASE; seen = now;
		held = true; deadline = now + LEASE; heard = now };
	do
	:: atomic { BELIEVES && empty(beat) -> beat!now }
	:: atomic { BELIEVES && RENEWABLE -> until = now + LEASE; deadline = now + LEASE }  /* on the server of the present */
	:: atomic { nempty(echo) ->
		echo?asked;
		if :: BELIEVES -> heard = ((asked > heard) -> asked : heard) :: else -> skip fi;
		asked = 0;
		assert(!(BELIEVES && taken)) }                                              /* exclusion */
	:: atomic { held && !BELIEVES -> held = false; break }
	od
}

/* A client that opens a session on the server of the present, and then tries. */
active proctype Taker() {
	byte session;
	do
	:: atomic { session != server && held ->
		session = server;
		if
		:: owner == 1 && granter != server && FREE_LOCK && until > now + LAPSE -> until = now + LAPSE
		:: else -> skip
		fi }
	:: atomic { session == server && session != 0 && owner == 1 && (now >= until || DEAD) ->
		owner = 2; taken = true;
		assert(!BELIEVES);                                                          /* exclusion */
		break }
	od
}
