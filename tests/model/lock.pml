/*
 * The protocols of lease and hybrid locks on one name, for Spin (https://spinroot.com).
 *
 * Time goes in ticks, for all alike: clients count it on monotonic clocks, the server on its own; how far a wall clock
 * is off does not come into it. Any process may stand still while time goes on, which is a pause. Messages may be
 * late, lost and (a repeated question) double. Checked: exclusion, whenever somebody begins or goes on to believe that
 * he holds, and rising tokens, at every grant. run.ts has the commands.
 *
 * HYBRID            the row is vouched for by its holder's session besides
 * BREAK_ANSWERED    the deadline is counted from the answer, not from before the question
 * BREAK_STRANGERS   a release frees the name whoever holds it
 * BREAK_SWEEP       clean-up deletes rows at once, and with them the last token
 * BREAK_TOLD        (hybrid) a client gives its session up later than the server does
 */
#define CLIENTS 2
#define OWNERS  2          /* how many acquisitions are asked for in all */
#ifdef HYBRID
#define END     3          /* how many ticks there are */
#define LEASE   3          /* ticks that a lease lasts: longer than a silent session is kept */
#else
#define END     3
#define LEASE   2
#endif
#define FINE    8          /* tokens in a tick: the clock is finer than acquisitions follow each other */

#ifdef BREAK_SWEEP
#define GRACE   0          /* ticks that a free row is kept */
#else
#define GRACE   1
#endif

#define SERVER_GIVES_UP 2  /* ticks of silence after which the server ends a session */
#ifdef BREAK_TOLD
#define CLIENT_GIVES_UP 3
#else
#define CLIENT_GIVES_UP 1  /* ticks since the last answered question was asked */
#endif

mtype = { ACQUIRE, RENEW, RELEASE, BEAT, GRANTED, BUSY, DONE };

byte now;                  /* the time */
byte owners;               /* how many there were: each acquisition has its own */

/* The row. */
byte owner, until, token, freedAt;
/* The session that vouches for it. */
byte keeper, keeperSession;

/* The highest token so far, which nobody in the protocol knows. */
byte highest;

/* What clients believe. */
bool held[CLIENTS];
byte deadline[CLIENTS];
byte mine[CLIENTS];        /* the owner that it is, or wants to become */

/* Sessions: the client's own, the one that the server has alive, and when each side last heard the other. */
byte session[CLIENTS], alive[CLIENTS], seen[CLIENTS], heard[CLIENTS];

/* verb, owner, when it was asked, session; and for answers the ticks that are left. */
chan question[CLIENTS] = [1] of { mtype, byte, byte, byte };
chan answer[CLIENTS] = [1] of { mtype, byte, byte, byte };

#ifdef HYBRID
#define BELIEVES(c) (held[c] && now < deadline[c] && now < heard[c] + CLIENT_GIVES_UP)
#define VOUCHED     (alive[keeper] == keeperSession)
#else
#define BELIEVES(c) (held[c] && now < deadline[c])
#define VOUCHED     true
#endif

#define LIVE (owner != 0 && now < until && VOUCHED)

inline grant(c, who, current) {
	token = ((token + 1 > now * FINE) -> token + 1 : now * FINE);
	assert(token > highest);           /* tokens rise */
	highest = token;
	owner = who; until = now + LEASE;
	keeper = c; keeperSession = current
}

/* A statement is atomic: it has the row's lock. Its answer may be lost. */
inline serve(c) {
	question[c]?verb, who, asked, current;
	if
#ifdef HYBRID
	:: alive[c] != current -> skip     /* its connection is gone, and the statement with it */
	:: else -> seen[c] = now;
#else
	:: true ->
#endif
		result = DONE; left = 0;
		if
		:: verb == ACQUIRE && LIVE && owner != who -> result = BUSY
		:: verb == ACQUIRE && LIVE && owner == who -> result = GRANTED; left = until - now
		:: verb == ACQUIRE && !LIVE -> grant(c, who, current); result = GRANTED; left = LEASE
		:: verb == RENEW && LIVE && owner == who -> until = now + LEASE; result = GRANTED; left = LEASE
#ifdef BREAK_STRANGERS
		:: verb == RELEASE -> owner = 0; freedAt = now
#else
		:: verb == RELEASE && LIVE && owner == who -> owner = 0; freedAt = now
#endif
		:: else -> skip
		fi;
		if
		:: nfull(answer[c]) -> answer[c]!result, who, asked, left
		:: true -> skip                /* lost */
		fi
	fi;
	verb = BEAT; who = 0; asked = 0; current = 0; left = 0; result = DONE
}

active proctype Server() {
	mtype verb, result;
	byte who, asked, current, left;
	do
	:: atomic { nempty(question[0]) -> serve(0) }
	:: atomic { nempty(question[1]) -> serve(1) }
	:: atomic { owner != 0 && now >= until -> owner = 0; freedAt = until }          /* cleanLocks clears */
	:: atomic { owner == 0 && token != 0 && now >= freedAt + GRACE -> token = 0 }   /* and deletes after a grace */
#ifdef HYBRID
	:: atomic { alive[0] != 0 && now >= seen[0] + SERVER_GIVES_UP -> alive[0] = 0 }
	:: atomic { alive[1] != 0 && now >= seen[1] + SERVER_GIVES_UP -> alive[1] = 0 }
#endif
	od
}

active proctype Clock() {
	do
	:: now < END -> now++
	:: now == END -> break
	od
}

#define OTHER (1 - me)
#define FORGET held[me] = false; deadline[me] = 0; mine[me] = 0

active [CLIENTS] proctype Client() {
	mtype verb;
	byte who, asked, left;
	byte me = _pid - 2;
#ifdef HYBRID
	session[me] = 1; alive[me] = 1;
#endif
	do
	:: atomic { mine[me] == 0 && owners < OWNERS && nfull(question[me]) ->
		owners++; mine[me] = owners; question[me]!ACQUIRE, mine[me], now, session[me] }
	:: atomic { mine[me] != 0 && !held[me] && nfull(question[me]) ->                /* once more: no answer came */
		question[me]!ACQUIRE, mine[me], now, session[me] }
	:: atomic { BELIEVES(me) && nfull(question[me]) -> question[me]!RENEW, mine[me], now, session[me] }
#ifdef HYBRID
	:: atomic { BELIEVES(me) && nfull(question[me]) -> question[me]!BEAT, mine[me], now, session[me] }
#endif
	:: atomic { BELIEVES(me) && nfull(question[me]) ->
		question[me]!RELEASE, mine[me], now, session[me]; FORGET }
	:: atomic { nempty(answer[me]) ->
		answer[me]?verb, who, asked, left;
		if
		:: who == mine[me] && mine[me] != 0 ->
#ifdef HYBRID
			heard[me] = ((asked > heard[me]) -> asked : heard[me]);
#endif
			if
			:: verb == GRANTED && (!held[me] || BELIEVES(me)) ->
#ifdef BREAK_ANSWERED
				left = left + now;
#else
				left = left + asked;
#endif
				deadline[me] = ((left > deadline[me]) -> left : deadline[me]);
				held[me] = true;
				assert(!(BELIEVES(me) && BELIEVES(OTHER)))      /* exclusion */
			:: else -> skip
			fi
		:: else -> skip                    /* of an earlier question that nobody waits for any more */
		fi;
		verb = BEAT; who = 0; asked = 0; left = 0 }
	:: atomic { mine[me] != 0 && !BELIEVES(me) -> FORGET }                          /* lost, or gave the wait up */
	:: atomic { mine[me] != 0 ->                                                    /* crash */
		FORGET;
		do :: nempty(answer[me]) -> answer[me]?_, _, _, _ :: empty(answer[me]) -> break od;
#ifdef HYBRID
		if :: alive[me] = 0 :: skip fi;            /* the kernel ends the connection, unless it died too */
		session[me]++; heard[me] = 0;
		if :: alive[me] == 0 -> alive[me] = session[me]; seen[me] = now :: else -> skip fi
#endif
		}
	:: now == END -> break
	od
}
