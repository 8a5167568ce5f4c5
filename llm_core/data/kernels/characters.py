"""Bit flags for every code point (letter, white space, …), and the decoding of UTF-8."""

import base64
import zlib
from functools import cache

import numpy as np

from llm_core.data.kernels.compiled import kernel

LETTER = 1
MARK = 2
NUMBER = 4
SPACE = 8
WORD = 16
PUNCTUATION = 32
SENTENCE_END = 64
EMOJI = 128

CODE_POINTS = 0x110000

# Unicode 16, as polars' regular expressions know it: LETTER \p{L}, MARK \p{M}, NUMBER \p{N}, SPACE \s, WORD \w,
# PUNCTUATION \p{P} and the symbols of ASCII, SENTENCE_END \p{STerm}, EMOJI \p{Emoji} and \p{Extended_Pictographic} from
# U+2190 on. It is stored here, so that it is the same for all versions of Python and polars: the lengths (uint32) of
# runs of equal flags, then the flags of these runs (uint8), deflated, in base 85.
_RUNS = (
    "c-pO6O^h5z74GV;nV#v{ot<vCckH!yUGZOHuZh=AVkZFwM;J#aiLiiJ0x75w1SDdG@FOm{Sh?f?NI7r<2}Kd|ffFYr-y#G#<W3Gqpa==&nhO%Ah<"
    "a7;?R@iGJ+=Y0YWlD0)%*S4tLhnNSvK&k@y&2sgX@al%l(#bHgP|MdwD10a(FgW_joO>;Paf%$N2n#iE|NuQ>I_4v9)intGRQ<^Dr@&w3g3b<@3+"
    "@O!M64>(jtD(K@4Oe@4;F6S9tcJHmWfe%GqL)Fz78UEdC}T`ctfHuNj``4H$B=wC6d9OzCIe>=<{J^MQFG3D_O`8Mv64WDg-?#D{!1MX8M>@PG9t"
    "9!$|(AYzu^AXcO3(twiOE6yp`l&!S6+fRr-x0hQIgH}9P&Po_OGA1_^)D0;xw4z~p#tQ!D|pKj=Um05RXi3z!zy_yHNOELO4+rKpFtu9a2(osL+P"
    "<nV}@$%z3kP;L&{!d!nQ?%7vZB)wi+s(+Jq0IP0<Dg<C|q(HJx0^KLuN?^O#W&j?NOY8%4iN$ZV93L<eP0OqdlsR4eSz$IGyXk4o8A^rrps4D?CO"
    "V?fsi?2q$|d;G59>q9CQ3}741HB>$@0w2niEPINM<hv2*lHQ$4_?G0qL+Ux|Yz)@})vr`@5bq9T-$>xK$WbM7x=}tXGMwaRt>R?@@5i89#I94E58"
    "DK<L&&WfUogJc6ZMYJKiyNy?DF-CW?81PN7ggy{-Nyt#)*!fQqRAju*0YtqTpDkb|Vo(H}mCsN$NJC`8?pxi1}+EwhqADV}6&j9@kZT$n(e9fAST"
    "zm&Do-&V|yyN#vm+*C-|6%5i18Yuxvk!iqJ>9TnF-=!56D-<HDqQ;cZ?h}$RN{Wi#|Wh#};a^~v-(>u?087aNw3L^xU#$c}<wt<W}$2nre^PL1A5"
    "qnoKzT!SP)LFaGcf?I>a1bzbn5b1~{CmD#p`2`%eetyN&Cv?nkad9QIhA)bep{e#AwTMV6O~(9g%<<xnLHsQ>L!J?Gv(t$6}!3~Cq5rzoTycv()C"
    "Bd{0;Acxdv){sVxSo)+0VosP&Tgtkh#K^BQalu`PVP%-7eTcAo$SzvA2HIF@AG!(6NVPRS;i|8&B?WbBW)|4$QZCDW6yhbmWWs2aj1bXO$S9#f7r"
    "p*@Cr49^3IZ<_Ne$H0p$_vazEhFoAGy#svznBt4{^iS|<^wC23SzrEoQpL^`YP4~pu6xik$?|AoKjDCiADZi3llIwM*=Y^@VyJYh*RnTy)?nWNT@"
    "E0Re-rScV*d9y9vtL_5v)z*`MTnJ&hM}IoA(Y!-226in6ptQ>t-S64CHJX|E<Ch!M<zISLefHuqOYWsul7?-FXnON!P=3g%1Vfu*ZR><j#v+2aHr"
    "6Z&V)FwmqtFbIv-QKpqv_oM&Gx6MH&Xw+-MK?q8kZ@#CI#W2O9Pu4>1NiJCW0tYxI`E>s>xU#%eT;W-t5yAY?;=f|oxKzhI3jj=LkeNatdeIj{{a"
    "p(Jt3nj<YK-E?i<RFt+7wEl(o1CX!H49(9!tZJC<q@d0W{Gv2_|*(_b11Q1POZJIdT)W>w^Yv5^@&mVQm8#mU7K#Lz$nZ0XVGI*p??B!Yzr{aB=$"
    "X~T*JNr*lu}magA#r%k=^E{~?cm6Jq89<hLV`XQYmA)mnYPz9Bxb1G36G4g1nw+i#TrorF5mvi(Pl8578%26)qZG^^ehOpA1I*+e-udHxamj@bDu"
    "<cu#S_SMey)N*r$lXF<79fQ5bJ!L=9+or<2E%3`LoPV+Qm$-N|v3453Iu_q;1K+s6S}Hk9wH6WIaA3=$Dt=0)bqV&vHUaMsz&=w0dxmR#eciV&k$"
    "t#+k$SdNJ~C2kqoYvIN-p>-tl7@?>}v{kTxPo4YQJz3>QJ#y1A0Bpxv=Dzm_v?u0%CFidlgk;Z*>eYI!V-&>s%9;YJGbWYOpHd10u%>^-Or&<MB4"
    "}y(910kICVC#{~Aq4=2_+ddxFDdlne86=3dp$Tbzzt`E9zYm{H>8c*Z=K&{V9@UMx|3(ARg^SGyvy^s7TvTd^;HDIG6QO6lr!|$o@K?dUGHtV$P*"
    "~i;}d5$x!I`IufY_ZNUy{qb3+_PvoK99h<$tLnA@pOl=Rea$)jC-<QfqO1St^ISTpN1>G;ibMEj(Lu2K>uOTQ<;c^BjB%(sJ)q@=Nrz1v3i#9(RI"
    "c?iSa+ce%}=IIfi|tk)n_OQK|j59Tg{2m=Ae5y`t_e6FxOe)JHB6cLViZ=#q*2;a(=%Mf~ZwioaaN;7foX2LbDU<p+G%pML=J)3`tR_JSY$Ev7~D"
    "?Ae7)WY2==|9T^id(L;fvlVsN@VobY$EWf|Zr5vxFROi!ox~br59BUXzD5~K*fSfjU4L&D--`vS-{*LlE8D%od$Sk^mm&YIL+x!;tV>P#?|HQOhc"
    ">Q<Xugk+FKB8%I$;)ZysdC{3VHnJv@hhH`c;U70%{Vy$8~+iI?ZD&N!_)RFY4VP>^F*U?eLtx<UVgOHm&jbCg-rXz^9%|<mx<uD{DR9K%VXSc2Pq"
    "8)Rz+q==U{VBOQiZi~n!<Z|`vpP8U)KT?AgI3Cxu5I0J~i>o(FCJopRnUn?BVRi1qYu<muPgGBxk{9E+&tXZrvYS?S1J|CK>*Zq5lJ)`J+WR`JTu"
    "czqzXULT$?*&{{c#m;kd&WPT*c*8P{@+2g{|Iv)Sy3}#O=MT>Q`!~#xWzr_->c<`^|HzC)}8Iy$F9{r;{cvt<<1iK$6)O<gzrlh_Vctq$bAF<zuA"
    "EK+r+m^S<C(_=UiqY9^dlqCp^zfT-(S##FHxT$r_dX>nq&vypsKn|M>*Qd|E_4KDr(A<kPeG{O`=)o0~D_E^J2`Uh@y%9Y=iohgaP52crHuKkoY9"
    "sz7`8X%J%6xz4q|)o#x>dgA;X{>p}*+F4g;cr@YUxT%Mo%NoZ=c#_f4xU8$2*40hz&%QIY*1z`MYr6A4SxY~z^R&XV@Z1r1T}D^?6NT~d=!m3Z&c"
    "7yZ!sEsh4RSQuayNP}2i>)PoXe7=m<}=8(?PmqwPigd=c029J(h+?0?zZ=xK%SWJbqu!y0LYjTQ6}Z<66=^tJt*;*&+>c-!`0sr2>m|xbT)vky7v"
    "qZ?(?V4Ib_Ov@Rw4k{-yImT!FTt{&CoYHg6tn=@l;h8yz6AheBc;F)L@-%ZxFLY!3Kxs2Slq|D%q!C8DaqCoxWw&jlA@iTwZMed`lOuo67Eb$om6"
    "3`Q-py_=4&~@g|BOf=!ws#1p45JU*)}HfQ{&4gge!^k1+1oR_e|sN?Tl98;n&WdkqEsEmvrGA_w^AMC@QuXsDk3s%^A5%6J5e4d*0%f`kH~nWO;k"
    "dV6Bv-zn;6U52cv^gly<@4JMXiBe&g-rx?n4M5n0IsDR!6`G~I#_ThI6D>btbwbmHkt94y~E^i}eSJ%4o3urUTQQeqbL;}sL!bdQ0q>kR>d)0Q;E"
    "4sHo7yc}(G`GBUx+k!uLe;ydRlDF-ff}E}njMAmu2Z|UmA(;H+<eNc@*2T#p4JYOc16#sR0;B*hjxosw)ahct+6Ysgrfq}r1Cn-4kR=$1Ojt);qY"
    "gfhJ8xM>=8i0c;6`(GG4A`|xXEh3%_s#QL_eTdn27u~2D7UfJjtpx!wdONcu8_HJO}?INn5MPhkWCCZuv>=YDrW9oZ?0BpO8NH`+3#0!6X3nOi|3"
    "uCTfF98GtfBTfo*ZwvC?WSP^kl9Nl^xjr<3bIMQFch(bzB!Q`AeLv*Z!B-VEqOt5^!D6jvAV?i?la&uQUZelsX`U_HqR<{}EFUwU!a9R6*;4B`ut"
    "jDmKhxJ=;d;EO>_-!M^-j(|Q10BdU$p"
)


@cache
def character_table() -> np.ndarray:
    """uint8 [CODE_POINTS]: the flags of every code point; read-only. Kernels take it as an argument."""
    runs = zlib.decompress(base64.b85decode(_RUNS))
    count = len(runs) // 5
    lengths, flags = np.frombuffer(runs, "<u4", count), np.frombuffer(runs, np.uint8, count, 4 * count)
    table = np.repeat(flags, lengths)
    table.flags.writeable = False
    return table


@kernel
def is_space(byte):  # type: ignore[no-untyped-def]
    """Whether ``byte`` is ASCII white space: a space, a tab, or an end of a line or page."""
    return byte == 32 or 9 <= byte <= 13


@kernel
def decode(data, at):  # type: ignore[no-untyped-def]
    """(code point, width in bytes) of the character that starts at ``data[at]``; ``data`` is valid UTF-8."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | np.int64(data[at + 1]) & 0x3F, 2
    if first < 0xF0:
        return (first & 0x0F) << 12 | (np.int64(data[at + 1]) & 0x3F) << 6 | np.int64(data[at + 2]) & 0x3F, 3
    return (
        (first & 0x07) << 18
        | (np.int64(data[at + 1]) & 0x3F) << 12
        | (np.int64(data[at + 2]) & 0x3F) << 6
        | np.int64(data[at + 3]) & 0x3F
    ), 4
