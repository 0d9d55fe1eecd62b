import './player';
